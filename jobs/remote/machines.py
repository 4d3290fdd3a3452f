"""Find the files that start a Ray cluster, in a checkout and in an installed package, and copy them."""

import shutil
from pathlib import Path

from s2m_ray.errors import ConfigError

FOLDER = Path(__file__).with_name("cluster")  # in a checkout it links to the folder of that name
# By name, because a user may keep the cluster's token beside them
PATTERNS = ("Dockerfile", "Dockerfile.dockerignore", "*.yaml", "*.sh", "README.md")


def cluster_files() -> list[Path]:
    """Return the files for Docker, KubeRay, Ray's cluster launcher and SLURM, in order of their names."""
    return sorted(path for pattern in PATTERNS for path in FOLDER.glob(pattern))


def copy_files(folder: Path) -> list[Path]:
    """Copy the files into a folder, which is made if needed.

    Returns:
        The copies.

    Raises:
        ConfigError: The folder has a file of the same name with other content. Nothing is copied then.
    """
    copies = {path: folder / path.name for path in cluster_files()}
    for path, copy in copies.items():
        if copy.exists() and (not copy.is_file() or copy.read_bytes() != path.read_bytes()):
            raise ConfigError(f"--copy {folder}: {copy.name} is there already and differs; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, copy in copies.items():
        shutil.copy(path, copy)  # with its mode, as slurm.sh is a program
    return list(copies.values())
