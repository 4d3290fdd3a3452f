"""Find out which folders a cluster can share with this machine."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from s2m_ray.errors import ConfigError, S2MError
from s2m_ray.files.place import Place, is_local

# Types of file systems that other machines can mount too
SHARED_TYPES = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "lustre",
    "ceph",
    "glusterfs",
    "gpfs",
    "beegfs",
    "afs",
    "9p",
    "virtiofs",
    "wekafs",
    "pvfs2",
    "orangefs",
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.juicefs",
    "fuse.sshfs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.mount-s3",
)


def require_shared(places: Iterable[Place], roots: Sequence[Path], cluster: str) -> None:
    """Refuse a path that only this machine can see.

    Args:
        places: What a command reads and writes.
        roots: Folders that all machines have under the same path.
        cluster: Address of the cluster, for the message.

    Raises:
        ConfigError: A local path is neither below a root nor on a file system that machines share.
    """
    mounts = _mounts()
    for place in places:
        if not is_local(place):
            continue
        path = place.absolute()
        if any(path.is_relative_to(root) for root in roots):
            continue
        kind = file_system(path.resolve(), mounts)
        if kind not in SHARED_TYPES:
            raise ConfigError(
                f"{place}: lies on a disk of this machine ({kind}), which the workers at {cluster} cannot see; give "
                "s3://bucket/path, or a path on shared storage; if the nodes do have it under the same path, say so "
                f"with --shared {path.parent} (or S2M_SHARED)"
            )


def require_there(inputs: Iterable[Place], roots: Sequence[Path]) -> None:
    """Refuse an input that is not there. An input on storage that this machine lacks is left for the job to check.

    Raises:
        ConfigError: An input is not there.
    """
    for place in inputs:
        elsewhere = [root for root in roots if is_local(place) and place.absolute().is_relative_to(root)]
        if any(not root.exists() for root in elsewhere):
            continue  # the job checks it on the cluster
        try:
            if not place.exists():
                raise ConfigError(f"{place}: no such file or folder; check the path")
        except S2MError as error:
            if isinstance(error, ConfigError):
                raise


def file_system(path: Path, mounts: Sequence[tuple[Path, str]]) -> str:
    """Return the type of the file system that holds a path, which is the type of the deepest mount above it.

    >>> file_system(Path("/nfs/a"), [(Path("/"), "ext4"), (Path("/nfs"), "nfs4")])
    'nfs4'
    """
    above = [(len(at.parts), number, kind) for number, (at, kind) in enumerate(mounts) if path.is_relative_to(at)]
    return max(above)[2] if above else "unknown"


def _mounts() -> list[tuple[Path, str]]:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:  # not Linux
        return []
    return [(Path(at.replace("\\040", " ")), kind) for _, at, kind, *_ in map(str.split, lines)]
