"""Puts a Python, one environment and the libraries that they load into an empty root: a small image without our code.

    python root.py /app/venv /root-fs

Without what no process of ours can reach: tests, compilers' inputs, pip, image formats that the gateway
refuses. Shared objects lose their symbols, and modules of others their source: both are for debugging only.
"""

import compileall
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = (
    # of the standard library
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "__pycache__"),
    *("config-*", "_test*.so", "turtle.py"),
    # of packages
    *(
        "*.pyi",
        "*.pxd",
        "*.h",
        "*.hpp",
        "*.cpp",
        "*.pyx",
        "*.a",
        "_pyinstaller",
        "testing",
        "f2py",
        "distutils",
        "pip",
        "setuptools",
    ),
    # of Pillow: PNG and JPEG are all that is accepted
    *("_avif*.so", "_webp*.so", "_imagingft*.so", "_imagingcms*.so", "_imagingtk*.so", "_imagingmath*.so"),
    *("libavif*", "libwebp*", "libsharpyuv*", "libfreetype*", "libharfbuzz*", "libbrotli*", "liblcms2*", "libpng16*"),
    # of SQLAlchemy: databases that the ledger is never kept in
    *("mysql", "oracle", "mssql"),
)
OTHERS = (
    *("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"),
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/nsswitch.conf", "/etc/ld.so.cache"),
)
"""What loads libraries, certificates for whoever calls out, how names are looked up, where libraries are found."""
USER = "modelyard:x:10001:10001::/tmp:/none\n"
GROUP = "modelyard:x:10001:\n"


def build(environment: Path, root: Path) -> None:
    """Everything, in the places it has here."""
    for part in ("usr/lib", "usr/lib64", "usr/bin", "tmp", "etc", "proc", "sys", "dev", "run"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name in ("lib", "lib64", "bin"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text(USER)
    (root / "etc/group").write_text(GROUP)
    for folder in (Path(sysconfig.get_path("stdlib")), environment):
        copy_folder(folder, root)
    for path in (environment / "bin" / "python", *libraries(root), *map(Path, OTHERS)):
        if path.exists():
            copy(path, root)
    strip(root)
    compile_all(root)


def copy(path: Path, root: Path) -> None:
    """A file, at its own place below ``root``; of a link, the file that it stands for, too."""
    target = root / path.parent.resolve().relative_to("/") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink() and not target.exists():
        shutil.copy2(path, target, follow_symlinks=False)
    if path.is_symlink():
        copy(path.parent / path.readlink(), root)


def copy_folder(folder: Path, root: Path) -> None:
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(folder, root / folder.relative_to("/"), symlinks=True, ignore=ignore, dirs_exist_ok=True)


def shared_objects(root: Path) -> list[Path]:
    return [path for path in root.rglob("*.so*") if path.is_file() and not path.is_symlink()]


def libraries(root: Path) -> set[Path]:
    """What the programs and extensions below ``root`` load from the system."""
    program = Path(sys.executable).resolve()
    found = {Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib") / "libgcc_s.so.1"}
    for path in (program, *(Path("/") / path.relative_to(root) for path in shared_objects(root))):
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for line in said.splitlines():
            name = line.partition("=>")[2].split(" (")[0].strip()
            if name.startswith("/") and not Path(name).resolve().is_relative_to("/app"):
                found.add(Path(name))
    return found


def strip(root: Path) -> None:
    """What was patched after it was linked may not load any more without its symbols: that keeps them."""
    for path in shared_objects(root):
        stripped = path.with_name(f"{path.name}.stripped")
        subprocess.run(["strip", "--strip-unneeded", "-o", stripped, path], capture_output=True, check=False)
        if stripped.exists() and not subprocess.run(["ldd", stripped], capture_output=True, check=False).returncode:
            stripped.replace(path)
        stripped.unlink(missing_ok=True)


def compile_all(root: Path) -> None:
    """Byte code in the place of source: nothing is compiled at a start, and a third is saved."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        root, stripdir=root, legacy=True, quiet=2, workers=0, maxlevels=40, invalidation_mode=unchecked
    )
    for path in root.rglob("*.py"):
        if path.with_suffix(".pyc").exists():
            path.unlink()


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
    Path("/owned/store").mkdir(parents=True)
