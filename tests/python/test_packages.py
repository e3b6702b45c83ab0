"""The wheel and the source distribution: what is in them, and that they work where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from packaging.metadata import Metadata

from support.samples import ostree
from support.sysroots import PROJECT, output

if TYPE_CHECKING:
    from collections.abc import Iterator

# The oldest Debian with a libostree that is new enough.
SUITE = "bookworm"

LONG = os.environ.get("OSTREE_SWEEP_LONG") == "1"

C_LIBRARIES = ("libc.so", "libm.so", "libpthread.so", "libdl.so", "libgcc_s.so", "ld-linux")

# Covers a directory with itself, but for one library, for the command's eyes only.
WITHOUT_LIBRARY = """
directory=$1 library=$2
shift 2
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
for path in "$directory/$library"*; do mknod "/mnt/upper/${path##*/}" c 0 0; done
mount -t overlay -o "lowerdir=$directory,upperdir=/mnt/upper,workdir=/mnt/work" overlay "$directory"
exec "$@"
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` builds, where no library's headers are to be found."""
    directory = tmp_path_factory.mktemp("dist")
    output("env", "PKG_CONFIG=false", "make", "-C", PROJECT, "wheel", f"DIST={directory}")
    return directory


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with nothing but the wheel and what it requires."""
    return install(wheel, tmp_path_factory.mktemp("environment"))


def install(package: Path, environment: Path) -> Path:
    output(sys.executable, "-m", "venv", environment)
    output(environment / "bin" / "python", "-m", "pip", "install", "--quiet", package)
    return environment / "bin"


def make_repo(repo: Path, tree: Path) -> None:
    """Makes a repository with one live and one orphaned commit."""
    tree.mkdir()
    ostree("init", "--mode=bare-user", f"--repo={repo}")
    for branch in ("live", "dead"):
        (tree / "file").write_text(branch, encoding="ascii")
        ostree("commit", f"--repo={repo}", f"--branch={branch}", tree)
    ostree("refs", f"--repo={repo}", "--delete", "dead")


def assert_works(programs: Path, place: Path) -> None:
    """Asks for the version, and prunes a repository with one live and one orphaned commit."""
    command = programs / "ostree-sweep"
    assert output(command, "--version").startswith("ostree-sweep 0.")
    repo = place / "repo"
    make_repo(repo, place / "tree")
    assert "Deleted 3 objects" in output(command, "prune", f"--repo={repo}", "--refs-only")
    ostree("fsck", f"--repo={repo}", "--quiet")
    assert "Would delete" not in output(command, "prune", f"--repo={repo}", "--refs-only", "--dry-run")


def test_wheel_is_for_every_python(wheel: Path) -> None:
    """And for every host whose C library is not ten years old, so that PyPI takes it."""
    tag = re.fullmatch(r"ostree_sweep-[^-]+-cp39-abi3-[\w.]*?(manylinux_2_(\d+)_\w+)\.whl", wheel.name)
    assert tag is not None, wheel.name
    assert int(tag[2]) <= 28
    shown = output(Path(sys.executable).with_name("auditwheel"), "show", wheel)
    assert f'consistent with the following platform tag: "{tag[1]}"' in " ".join(shown.split())
    assert not re.search("libostree|libglib|libpython", shown)


def test_wheel_is_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ostree_sweep"}
    assert [name for name in names if ".so" in name] == ["ostree_sweep/_core.abi3.so"]
    modules = {
        str(path.relative_to(PROJECT / "python"))
        for path in (PROJECT / "python").rglob("*")
        if path.suffix in (".py", ".pyi", ".typed") or path.name == "py.typed"
    }
    assert modules <= set(names)
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} >= {
        "LICENSE-APACHE",
        "LICENSE-MIT",
    }


def test_the_wheel_lists_what_it_links(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if "/sboms/" in name)
        sbom = json.loads(archive.read(name))
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {f"{crate['name']} v{crate['version']}" for crate in sbom["components"]}
    licences = (PROJECT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert listed == set(re.findall(r"^\| (\S+ v\S+)", licences, re.MULTILINE))
    assert all(crate["purl"] and crate["hashes"] and crate["licenses"] for crate in sbom["components"])


def test_the_wheel_names_no_path_of_the_machine(wheel: Path) -> None:
    paths = [str(PROJECT).encode(), str(Path.home()).encode() + b"/.cargo", b"file://"]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert not [path for path in paths if path in archive.read(name)], name


def test_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 2_000_000


def test_wheel_links_the_c_library_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open("ostree_sweep/_core.abi3.so") as file:
        core = ELFFile(file)
        dynamic = core.get_section_by_name(".dynamic")
        assert isinstance(dynamic, DynamicSection)
        # elftools gives a tag an attribute of its kind's name.
        needed = {vars(tag)["needed"] for tag in dynamic.iter_tags("DT_NEEDED")}
        assert core.get_section_by_name(".symtab") is None, "the core isn't stripped"
        assert core.get_section_by_name(".debug_info") is None, "the core isn't stripped"
    assert all(name.startswith(C_LIBRARIES) for name in needed), needed


def test_wheel_works(installed: Path, tmp_path: Path) -> None:
    assert_works(installed, tmp_path)


def without(library: str, *command: object) -> subprocess.CompletedProcess[str]:
    """Runs a command that does not see a library of the host's."""
    script = f"import ctypes; ctypes.CDLL('{library}'); print(open('/proc/self/maps').read())"
    maps = output(sys.executable, "-c", script)
    (path,) = {Path(line.split()[-1]) for line in maps.splitlines() if f"/{library}" in line}
    hide = ["unshare", "--mount", "--", "sh", "-euc", WITHOUT_LIBRARY, "sh", path.parent, library]
    return subprocess.run([*map(str, (*hide, *command))], capture_output=True, text=True, check=False)


@pytest.mark.needs_root
def test_without_libostree_the_package_to_install_is_named(installed: Path, tmp_path: Path) -> None:
    def hidden(*command: object) -> subprocess.CompletedProcess[str]:
        return without("libostree-1.so.1", *command)

    command = installed / "ostree-sweep"
    (tmp_path / "ostree" / "repo").mkdir(parents=True)
    ostree("init", "--mode=bare", f"--repo={tmp_path}/ostree/repo")
    done = hidden(command, "status", f"--sysroot={tmp_path}")
    assert done.returncode == 1
    assert "libostree-1.so.1 is missing" in done.stderr
    assert "libostree-1-1" in done.stderr
    assert "ostree-libs" in done.stderr
    assert "Traceback" not in done.stderr
    # What needs no libostree works without.
    assert hidden(command, "--version").returncode == 0
    assert hidden(command, "cleanup", "--auto", f"--sysroot={tmp_path}").stdout == "No cleanup needed.\n"
    make_repo(tmp_path / "repo", tmp_path / "tree")
    assert "Deleted 3 objects" in hidden(command, "prune", f"--repo={tmp_path}/repo", "--refs-only").stdout


@pytest.mark.needs_root
def test_without_glib_the_package_to_install_is_named(installed: Path, tmp_path: Path) -> None:
    def hidden(*command: object) -> subprocess.CompletedProcess[str]:
        return without("libglib-2.0.so.0", *command)

    make_repo(tmp_path / "repo", tmp_path / "tree")
    files = sorted((tmp_path / "repo").rglob("*"))
    done = hidden(installed / "ostree-sweep", "prune", f"--repo={tmp_path}/repo", "--refs-only")
    assert done.returncode == 1
    assert "libglib-2.0.so.0 is missing" in done.stderr
    assert "libglib2.0-0" in done.stderr
    assert "glib2" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted((tmp_path / "repo").rglob("*")) == files
    assert hidden(installed / "python", "-c", "import ostree_sweep.core").returncode == 0


@contextmanager
def clean_root(place: Path) -> Iterator[Path]:
    """A Debian with Python, libostree and what these need, and nothing else."""
    query = ["--format", "$(REPO_URI)", f"Codename: {SUITE}", "Component: main"]
    mirror = output("apt-get", "indextargets", *query).split()[0]
    packages = "--include=python3,libostree-1-1"
    output("debootstrap", "--variant=minbase", "--merged-usr", packages, SUITE, place, mirror)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def assert_works_alone(wheel: Path, root: Path) -> None:
    """Uses the wheel in a root that has Python and libostree, and then without libostree."""
    output(sys.executable, "-m", "pip", "install", "--quiet", f"--target={root}/opt/sweep", wheel)
    make_repo(root / "repo", root / "tree")

    def inside(*command: str) -> subprocess.CompletedProcess[str]:
        python = ["chroot", str(root), "env", "-i", "PATH=/usr/bin", "PYTHONPATH=/opt/sweep", "python3"]
        return subprocess.run([*python, *command], capture_output=True, text=True, check=False)

    program = "/opt/sweep/bin/ostree-sweep"
    for command in ([program], ["-m", "ostree_sweep"]):
        done = inside(*command, "--version")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("ostree-sweep 0.")
    assert not (root / "usr/bin/ostree").exists()
    done = inside(program, "prune", "--repo=/repo", "--refs-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Deleted 3 objects" in done.stdout
    ostree("fsck", f"--repo={root}/repo", "--quiet")

    for library in root.glob("usr/lib/*/libostree-1.so.1*"):
        library.unlink()
    done = inside(program, "prune", "--repo=/repo", "--refs-only")
    assert (done.returncode, done.stderr) == (0, "")
    done = inside("-c", "import ostree_sweep; ostree_sweep.cleanup('/')")
    assert done.returncode == 1
    assert "libostree-1.so.1 is missing" in done.stderr
    assert "libostree-1-1" in done.stderr


# A Debian takes minutes to be unpacked.
if LONG:

    @pytest.mark.needs_root
    def test_wheel_works_in_a_clean_root(wheel: Path, tmp_path: Path) -> None:
        with clean_root(tmp_path / "root") as root:
            assert_works_alone(wheel, root)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution."""
    directory = tmp_path_factory.mktemp("source")
    maturin = Path(sys.executable).with_name("maturin")
    output(maturin, "sdist", "--manifest-path", PROJECT / "Cargo.toml", "--out", directory)
    (source,) = directory.glob("*.tar.gz")
    return source


def test_source_distribution_has_all_that_building_and_testing_needs(source: Path, tmp_path: Path) -> None:
    with tarfile.open(source) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    ours = output("git", "-C", PROJECT, "ls-files").splitlines()
    assert names == {"PKG-INFO", *(name for name in ours if not name.startswith("."))}
    if LONG:
        environment = tmp_path / "environment"
        assert_works(install(source, environment), tmp_path)


def test_metadata_is_valid_and_its_description_stands_alone(source: Path) -> None:
    with tarfile.open(source) as archive:
        (member,) = (each for each in archive if each.name.endswith("PKG-INFO"))
        file = archive.extractfile(member)
        assert file is not None
        metadata = Metadata.from_email(file.read(), validate=True)
    assert metadata.license_expression == "MIT OR Apache-2.0"
    assert metadata.author or metadata.author_email
    assert metadata.keywords
    least = str(metadata.requires_python).removeprefix(">=")
    assert f"Programming Language :: Python :: {least}" in (metadata.classifiers or [])
    assert metadata.description_content_type is not None
    assert "markdown" in metadata.description_content_type
    # Relative to the repository, links and pictures lead nowhere from the page of a package.
    links = re.findall(r"\]\(([^)]*)\)|<(?:a|img)[^>]*(?:href|src)=\"([^\"]*)", str(metadata.description))
    assert all("".join(link).startswith("https://") for link in links)


# Two builds take minutes.
if LONG:

    def test_builds_at_different_paths_are_the_same(source: Path, tmp_path: Path) -> None:
        builds = []
        for name in ("one", "another/and/deeper"):
            place = tmp_path / name
            place.mkdir(parents=True)
            with tarfile.open(source) as archive:
                archive.extractall(place)  # noqa: S202 - we made it
            (tree,) = place.iterdir()
            # All but the programs that build, which are those of this environment.
            tools = Path(sys.executable).parent
            output("make", "-C", tree, "--assume-old=build", "wheel", f"BIN={tools}")
            builds.append({path.name: path.read_bytes() for path in tree.joinpath("dist").iterdir()})
        assert builds[0].keys() == builds[1].keys()
        assert [name for name in builds[0] if builds[0][name] != builds[1][name]] == []
