"""Files without their ends."""

from pathlib import Path


def cut(path: Path, share: float, folder: Path) -> str:
    content = path.read_bytes()
    target = folder / f"cut{path.suffix}"
    target.write_bytes(content[: int(len(content) * share)])
    return str(target)
