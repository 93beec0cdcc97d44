"""Zips the built package into a wheel (PEP 427) with nothing but the standard library.

Usage: make_wheel.py <package folder> <version> <target folder>
"""

import base64
import hashlib
import pathlib
import subprocess
import sys
import sysconfig
import zipfile

NAME = "bai_manager"


def tag():
    abi = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{abi}-{abi}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def metadata(version):
    return "\n".join([
        "Metadata-Version: 2.1", f"Name: {NAME.replace('_', '-')}", f"Version: {version}",
        "Summary: Control plane for AI and HPC compute sessions, on virtual time", "Requires-Python: >=3.9",
        "Requires-Dist: numpy", "License: Apache-2.0", ""])


def digest(data):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def stripped(module, scratch):
    copy = scratch / module.name
    copy.write_bytes(module.read_bytes())
    subprocess.run(["strip", "--strip-unneeded", str(copy)], check=True)
    data = copy.read_bytes()
    copy.unlink()
    return data


def contents(package, version, scratch):
    for path in sorted(package.iterdir()):
        if path.is_file():
            data = stripped(path, scratch) if path.suffix == ".so" else path.read_bytes()
            yield f"{NAME}/{path.name}", data
    info = f"{NAME}-{version}.dist-info"
    yield f"{info}/METADATA", metadata(version).encode()
    yield f"{info}/WHEEL", (f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: false\nTag: {tag()}\n").encode()
    yield f"{info}/entry_points.txt", f"[pytest11]\n{NAME} = {NAME}.pytest_plugin\n".encode()


def main(package, version, target):
    target = pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    wheel = target / f"{NAME}-{version}-{tag()}.whl"
    record = f"{NAME}-{version}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents(pathlib.Path(package), version, target):
            member = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            archive.writestr(member, data)
            lines.append(f"{name},{digest(data)},{len(data)}")
        archive.writestr(record, "\n".join([*lines, f"{record},,", ""]))
    print(wheel)


main(*sys.argv[1:])
