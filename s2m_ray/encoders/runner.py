"""Run torch networks as encoders.

Rows of one length go together and nothing is padded, so that no vector depends on the other rows.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import cast

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from s2m_ray.encoders.spec import Execution
from s2m_ray.errors import ConfigError

LEAST_COSINE = 0.99  # cosine of a bfloat16 vector with its float32 vector; measured in every family: 0.9998 or more
VERSION = 1  # raise it whenever a change to this file changes a vector, so that no store mixes old and new vectors


class Runner:
    """Run a network on rows of different lengths. Rows of one length go together, and none is padded.

    The kernels of torch may give other bits for other batch sizes (measured: up to 7e-7 in six of ten families) and
    for other numbers of threads (measured: wav2vec2 with two threads instead of one, 8e-7). With a budget of one row
    on the CPU, a vector therefore depends on its row alone, bit for bit at one number of threads. On CUDA, TF32 is
    off and kernels are deterministic; another batch size moves a vector by rounding.

    Args:
        network: The network. It is put into eval mode and moved to the device.
        execution: With ``dtype`` bfloat16 the network runs under autocast: weights stay float32, and matrix products
            are bfloat16. Only one length is compiled: whole segments, which most rows of a music library have. A
            graph for each length would cost half a minute each time, and whether a row runs compiled must not depend
            on earlier rows.
        compile_length: Rows of this length run compiled.

    Raises:
        ConfigError: CUDA is asked for and is not there.
    """

    def __init__(self, network: nn.Module, execution: Execution, compile_length: int | None = None) -> None:
        cuda = torch.cuda.is_available()
        if execution.device == "cuda" and not cuda:
            raise ConfigError(
                "device=cuda: torch sees no CUDA device here, expected cpu or auto (of a job: gpus_per_worker=0); is "
                "the driver older than torch's CUDA?"
            )
        self.device = "cuda" if cuda and execution.device != "cpu" else "cpu"
        self.dtype = execution.dtype
        self.network = network.eval().to(self.device)
        compiled = torch.compile(self.network) if compile_length else self.network
        self._compiled = cast(Callable[[Tensor], Tensor], compiled)
        self._compile_length = compile_length
        self._trusted = self.dtype == "float32"

    def __call__(self, rows: Sequence[Tensor], budget: int, at_least: int = 1) -> Float[ndarray, "rows dim"]:
        """Return one float32 vector for each row, in the order of ``rows``.

        Args:
            rows: At least one row.
            budget: Sum of the lengths in one forward pass.
            at_least: The number of rows that go together even if they exceed the budget.
        """
        lengths = defaultdict(list)
        for index, row in enumerate(rows):
            lengths[len(row)].append(index)
        found: dict[int, Tensor] = {}
        for length, indices in lengths.items():
            together = max(at_least, budget // length)
            for start in range(0, len(indices), together):
                chosen = indices[start : start + together]
                batch = torch.stack([rows[index] for index in chosen])
                found |= zip(chosen, self.forward(batch).cpu(), strict=True)
        return torch.stack([found[index] for index in range(len(rows))]).numpy()

    def forward(self, batch: Tensor) -> Tensor:
        """Return float32 vectors of rows of one length. A batch that does not fit into the GPU's memory is halved.

        Raises:
            ConfigError: A single row does not fit, or bfloat16 gives wrong vectors on this device.
        """
        if not self._trusted:
            self._trusted = True
            self._compare(batch[:1])
        try:
            with ExitStack() as stack:
                stack.enter_context(torch.inference_mode())
                if self.dtype == "bfloat16":
                    stack.enter_context(torch.autocast(self.device, torch.bfloat16))
                if self.device == "cuda":
                    flags = {"enabled": True, "deterministic": True, "allow_tf32": False}
                    stack.enter_context(torch.backends.cudnn.flags(**flags))
                run = self._compiled if batch.shape[1] == self._compile_length else self.network
                return cast(Tensor, run(batch.to(self.device))).float()
        except torch.OutOfMemoryError:
            pass  # retry outside the handler, because inside it the error still holds the tensors of the failed pass
        if self.device == "cuda":
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise ConfigError(
                f"one row of {batch.shape[1]} values does not fit into the memory of the device; make segments "
                "shorter (--set audio.segment_s=5), or use fewer workers per device"
            )
        half = len(batch) // 2
        return torch.cat([self.forward(batch[:half]), self.forward(batch[half:])])

    def _compare(self, row: Tensor) -> None:
        """Compare the first bfloat16 vector with its float32 vector, because a kernel may be wrong without any sign.

        Measured: convolutions of 8 channels per group on CPUs with AMX, torch 2.11 (oneDNN 3.10), have a cosine of
            0.09.
        """
        with torch.inference_mode():
            exact = self.network(row.to(self.device)).float()
        cosine = functional.cosine_similarity(self.forward(row), exact).item()
        if exact.isfinite().all() and not cosine >= LEAST_COSINE:  # a vector of NaN is rejected with its item
            raise ConfigError(
                f"dtype=bfloat16: the first vector has a cosine of {cosine:.3f} with the float32 one, expected "
                f"at least {LEAST_COSINE}; a kernel of this device computes this network wrongly: use dtype=float32"
            )


def computes_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16.

    Without them bfloat16 is up to 20 times slower than float32.
    """
    return any(found for name, found in torch.cpu.get_capabilities().items() if "bf16" in name)


def weights_sha256(network: nn.Module) -> str:
    """Return the SHA-256 over all parameters and persistent buffers, in order of their names.

    It covers names, types, shapes and bytes.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        # as bytes, because numpy has no bfloat16
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
