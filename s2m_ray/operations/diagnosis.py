"""Find out what one machine can do by doing it, and say how to mend what it cannot."""

import io
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from s2m_ray.audio.decode import decode
from s2m_ray.errors import S2MError
from s2m_ray.files.claims import versions
from s2m_ray.files.place import Place

State = Literal["ok", "warn", "fail"]
PACKAGES = ("ray", "torch", "torchaudio", "faiss-gpu", "faiss-cpu", "av", "soundfile", "scikit-learn", "transformers")
LEAST_MEMORY_BYTES = 2 * 2**30  # a worker with torch and a batch of audio; measured for `spectral`: 0.6 GB
LEAST_DISK_BYTES = 5 * 2**30  # Ray spills objects to the disk, and takes no tasks when 95 % of it is full
TONE_HZ, TONE_S = 440.0, 1.0
# libsndfile writes the native formats (container, subtype), FFmpeg the others (container, codec, sample rate).
NATIVE = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}
FFMPEG = {
    "m4a": ("mp4", "aac", 44100),
    "wma": ("asf", "wmav2", 44100),
    "webm": ("webm", "libopus", 48000),
    "amr": ("amr", "libopencore_amrnb", 8000),
}


@dataclass(frozen=True)
class Finding:
    """Hold a line of a diagnosis: what was examined, what was found, and what to do about it."""

    name: str
    state: State
    found: str
    fix: str = ""


def diagnose(storage: Sequence[Place] = ()) -> list[Finding]:
    """Examine this machine. A check that itself breaks becomes a finding that says so.

    Args:
        storage: Files or folders that must be there.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("torch", _torch),
        ("faiss", _faiss),
        ("decoders", _decoders),
        ("memory", _memory),
        ("disk", _disk),
        ("storage", lambda: _storage(storage)),
    ]
    found = []
    for name, check in checks:
        try:
            found += list(check())
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            found.append(Finding(name, "fail", text, "install the versions of constraints.txt"))
    return found


def as_dicts(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as plain values."""
    return [asdict(finding) for finding in findings]


def _versions() -> Iterator[Finding]:
    found = {name: value for name, value in versions(*PACKAGES).items() if value != "absent"}
    text = ", ".join(f"{name} {value}" for name, value in found.items())
    missing = [name for name in ("ray", "torch", "av", "soundfile") if name not in found]
    fix = f"pip install -c constraints.txt {' '.join(missing)}" if missing else ""
    yield Finding("versions", "fail" if missing else "ok", f"{text}, {platform.system()} {platform.machine()}", fix)


def _torch() -> Iterator[Finding]:
    """Multiply matrices on every GPU, and compare the product with the CPU's."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        fix = ""
        if Path("/proc/driver/nvidia/version").exists():
            fix = "the driver is there, but torch sees no GPU: is it a CPU build, or CUDA_VISIBLE_DEVICES empty?"
        yield Finding(
            "torch", "warn" if fix else "ok", f"torch {torch.__version__} on {_cores()} CPU cores, no GPU", fix
        )
    left = torch.linspace(-1, 1, 64 * 64).reshape(64, 64)
    expected = left @ left.T
    for number in range(count):
        name = torch.cuda.get_device_name(number)
        product = (left.to(f"cuda:{number}") @ left.T.to(f"cuda:{number}")).cpu()
        is_right = torch.allclose(product, expected, atol=1e-2)  # TF32 has 10 bits
        free, total = torch.cuda.mem_get_info(number)
        text = f"cuda:{number} {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        fix = (
            ""
            if is_right
            else "its products are wrong: does this torch support the GPU (torch.cuda.get_arch_list())?"
        )
        yield Finding(f"torch cuda:{number}", "ok" if is_right else "fail", text, fix)


def _faiss() -> Iterator[Finding]:
    """Search on the CPU and on every GPU, and compare the neighbours with numpy's."""
    import faiss

    draws = np.random.default_rng(0).standard_normal((256, 16)).astype(np.float32)
    expected = np.argmax(draws[:8] @ draws.T, axis=1)
    index = faiss.IndexFlatIP(draws.shape[1])
    index.add(draws)
    yield _searched("faiss cpu", index, draws[:8], expected, f"faiss {faiss.__version__}")
    for number in range(faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0):
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index)
        yield _searched(f"faiss cuda:{number}", on_gpu, draws[:8], expected, f"faiss {faiss.__version__}")


def _searched(name: str, index: Any, queries: ndarray, expected: ndarray, text: str) -> Finding:
    is_right = bool((index.search(queries, 1)[1][:, 0] == expected).all())
    return Finding(name, "ok" if is_right else "fail", text, "" if is_right else "wrong neighbours: reinstall faiss")


def _decoders() -> Iterator[Finding]:
    """Write a tone in each format, and read it as `s2m embed` does."""
    works, fails = [], []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (*NATIVE, *FFMPEG):
            path = Path(folder) / f"tone.{suffix}"
            try:
                path.write_bytes(tone_file(suffix))
                wave = decode(str(path), sample_rate=8000)
                peak = float(np.argmax(np.abs(np.fft.rfft(wave)))) * 8000 / len(wave)
                if abs(peak - TONE_HZ) > 5:
                    raise ValueError(f"a tone of {TONE_HZ:g} Hz came back as {peak:.0f} Hz")
                works.append(suffix)
            except (S2MError, OSError, ValueError, RuntimeError, ImportError) as error:
                fails.append(f"{suffix} ({str(error).partition(chr(10))[0][:80]})")
    fix = "pip install -c constraints.txt av soundfile" if fails else ""
    state: State = "ok" if not fails else ("warn" if "wav" in works else "fail")
    yield Finding("decoders", state, f"{' '.join(works)}{'; not: ' + ', '.join(fails) if fails else ''}", fix)


def tone_file(suffix: str) -> bytes:
    """Return a file of a format, with a second of a tone of 440 Hz."""
    target = io.BytesIO()
    if suffix in NATIVE:
        import soundfile

        container, subtype = NATIVE[suffix]
        soundfile.write(target, _tone(16000), 16000, format=container, subtype=subtype)
        return target.getvalue()
    import av

    container, codec, rate = FFMPEG[suffix]
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if codec == "wmav2":
            stream.bit_rate = 64000  # it has no default
        wave = (_tone(rate) * 32767).astype(np.int16)[None]
        size = stream.codec_context.frame_size or rate
        for start in range(0, wave.shape[1], size):
            frame = av.AudioFrame.from_ndarray(wave[:, start : start + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return target.getvalue()


def _tone(rate: int) -> ndarray:
    return 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(int(TONE_S * rate)) / rate)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> Iterator[Finding]:
    free, total = memory_bytes()
    fix = "" if free >= LEAST_MEMORY_BYTES else "end other programs, or take fewer workers (--workers)"
    text = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {_cores()} CPU cores"
    yield Finding("memory", "warn" if fix else "ok", text, fix)


def memory_bytes() -> tuple[int, int]:
    """Return the free and the whole memory in bytes, of the container if it has a limit, else of the machine."""
    values = {}
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():  # not Linux
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    for line in meminfo.read_text().splitlines():
        name, _, value = line.partition(":")
        values[name] = int(value.split()[0]) * 1024
    free, total = values["MemAvailable"], values["MemTotal"]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
        free = min(free, total - int(used.read_text()))
    return max(0, free), total


def _disk() -> Iterator[Finding]:
    folder = tempfile.gettempdir()
    usage = shutil.disk_usage(folder)
    fix = ""
    if usage.free < LEAST_DISK_BYTES or usage.free < 0.05 * usage.total:
        fix = "free some, or set TMPDIR and Ray's --temp-dir to another disk"
    text = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free at {folder}"
    yield Finding("disk", "warn" if fix else "ok", text, fix)


def _storage(places: Sequence[Place]) -> Iterator[Finding]:
    """Look for each place, and measure how long the look takes. Only a job can tell whether all nodes see it."""
    for place in places:
        started = time.perf_counter()
        try:
            is_there = place.exists()
        except (S2MError, OSError) as error:
            fix = "give this machine access: a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            yield Finding("storage", "fail", str(error), fix)
            continue
        text = f"{place}: {'there' if is_there else 'not there'}, {1000 * (time.perf_counter() - started):.0f} ms"
        fix = "" if is_there else "mount it under the same path on every node, or make the folder"
        yield Finding("storage", "ok" if is_there else "fail", text, fix)
