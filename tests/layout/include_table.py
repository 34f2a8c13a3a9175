#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the sources against the include table of src/README.md.

include_table.py ROOT              checks ROOT/src; prints file:line of every violation, exit 1 if there is one
include_table.py --self-test ROOT  puts violations into a copy of ROOT/src and sees that each is found
"""
import pathlib
import re
import shutil
import sys
import tempfile

# Headers of a library: the pattern, and the folders whose .cpp files and private headers may include it.
LIBRARIES = {
    "MPI": (r"mpi\.h", {"comm", "io"}),
    "HDF5": (r"(hdf5|H5\w*)(_hl)?\.h", {"io"}),
    "NCCL": (r"nccl\w*\.h", {"comm"}),
    "CUDA": (r"(cuda|cublas|cudnn|nvml|nvrtc|cooperative_groups|mma)\w*(/.*)?\.h(pp)?", {"device", "kernels", "comm"}),
    "oneDNN": (r"(oneapi/dnnl/.*|dnnl\w*\.h(pp)?)", {"kernels"}),
    "toml++": (r"toml\+\+/.*", {"deck"}),
    "sentencepiece": (r"sentencepiece\w*\.h", {"text"}),
    "spdlog": (r"spdlog/.*", {"base"}),
    "xxHash": (r"xxh\w*\.h", {"base"}),
    "Boost.JSON": (r"boost/json\W.*", {"data", "huggingface", "io"}),
    "Boost.Context": (r"boost/context\W.*", {"device"}),
    "Boost.Program_options": (r"boost/program_options\W.*", {"app"}),
}
CUDA_FOLDERS = {"cuda", "nccl"}
INTRINSICS = r"(\w*intrin\.h|arm_neon\.h|arm_sve\.h)"
INTRINSICS_HEADER = "kernels/cpu/simd/vector.h"  # what else lies in simd/ builds on it
HEADER = {".h", ".cuh", ".hpp"}
SOURCE = HEADER | {".cpp", ".cu", ".cc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def read_table(src):
    """Folder -> (set of folders in its row or None for all, line)."""
    table = {}
    lines = (src / "README.md").read_text(encoding="utf-8").splitlines()
    inside = False
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells == ["folder", "what it is", "may include"]:
            inside = True
        elif inside and not line.startswith("|"):
            break
        elif inside and not set(cells[0]) <= set("-: "):
            row = cells[2].strip()
            names = None if row == "all" else {name.strip(" `") for name in row.split(",")} - {"-", ""}
            table[cells[0].strip("`")] = (names, number)
    return table


def closures(table):
    reach = {}

    def visit(folder):
        if folder not in reach:
            reach[folder] = {folder, "base"}
            names = set(table) if table[folder][0] is None else table[folder][0]
            for name in names & set(table):
                reach[folder] |= visit(name)
        return reach[folder]

    for folder in table:
        visit(folder)
    return reach


def read_includes(src):
    """Path relative to src -> list of (line, is_quoted, name)."""
    out = {}
    for path in sorted(src.rglob("*")):
        if path.suffix not in SOURCE:
            continue
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                found.append((number, match.group(1) == '"', match.group(2)))
        out[path.relative_to(src).as_posix()] = found
    return out


def folder_of(path):
    return path.split("/")[0]


def public_headers(includes):
    """Headers that files of another folder reach."""
    public = set()
    waiting = [name for path, found in includes.items() for _, quoted, name in found
               if quoted and folder_of(name) != folder_of(path)]
    while waiting:
        header = waiting.pop()
        if header in includes and header not in public:
            public.add(header)
            waiting += [name for _, quoted, name in includes[header] if quoted]
    return public


def check_cmake(src, table):
    """The links of every selvage_folder() are its row."""
    problems = []
    text = (src / "CMakeLists.txt").read_text(encoding="utf-8")
    targets = {}
    for match in re.finditer(r"^\s*selvage_folder\(\s*([\w-]+)([^)]*)\)", text, re.MULTILINE):
        line = text.count("\n", 0, match.start(1)) + 1
        keyword = None
        links = set()
        for word in match.group(2).split():
            if word in ("PUBLIC", "PRIVATE"):
                keyword = word
            elif word in table:
                links.add(word)
                if keyword == "PRIVATE":
                    problems.append(f"src/CMakeLists.txt:{line}: {match.group(1)} links the folder {word} privately")
        targets[match.group(1)] = line
        if match.group(1) not in table:
            problems.append(f"src/CMakeLists.txt:{line}: {match.group(1)} is not in the table of src/README.md")
            continue
        row = table[match.group(1)][0]
        if row is not None and links != row:
            problems.append(f"src/CMakeLists.txt:{line}: {match.group(1)} links {sorted(links)}, its row in "
                            f"src/README.md says {sorted(row)}")
    for folder, (row, line) in table.items():
        if row is not None and folder not in targets:
            problems.append(f"src/README.md:{line}: no selvage_folder({folder} ...) in src/CMakeLists.txt")
    return problems


def check(root):
    src = pathlib.Path(root) / "src"
    table = read_table(src)
    if not table:
        return ["src/README.md:1: no table of folders"]
    problems = []
    for folder, (row, line) in table.items():
        if not (src / folder).is_dir():
            problems.append(f"src/README.md:{line}: there is no folder {folder}")
        for name in sorted((row or set()) - set(table)):
            problems.append(f"src/README.md:{line}: {name} is not a folder of the table")
    reach = closures(table)
    for folder in table:
        if table[folder][0] is not None and any(folder in reach[name] for name in table[folder][0] if name in reach):
            problems.append(f"src/README.md:{table[folder][1]}: {folder} reaches itself")
    includes = read_includes(src)
    public = public_headers(includes)
    onednn_files = []
    for path, found in includes.items():
        folder = folder_of(path)
        if folder not in table:
            problems.append(f"src/{path}:1: the folder {folder} is not in the table of src/README.md")
            continue
        for line, quoted, name in found:
            where = f"src/{path}:{line}"
            if quoted and "/" in name and folder_of(name) in table and folder_of(name) not in reach[folder]:
                problems.append(f"{where}: {folder} may not include {name} (see the table of src/README.md)")
            if quoted and name not in includes and not (src / name).exists() and "/" in name:
                problems.append(f"{where}: there is no src/{name}; include paths start at src/")
            if re.fullmatch(INTRINSICS, name) and path != INTRINSICS_HEADER:
                problems.append(f"{where}: intrinsics outside src/{INTRINSICS_HEADER}")
            for library, (pattern, folders) in LIBRARIES.items():
                if quoted or not re.fullmatch(pattern, name):
                    continue
                if library == "oneDNN" and path not in onednn_files:
                    onednn_files.append(path)
                if folder not in folders:
                    problems.append(f"{where}: {library} belongs to {' and '.join(sorted(folders))}")
                elif library == "CUDA" and path.split("/")[1] not in CUDA_FOLDERS:
                    problems.append(f"{where}: CUDA belongs to the folders {' and '.join(sorted(CUDA_FOLDERS))} in {folder}")
                elif path in public:
                    problems.append(f"{where}: {library} in a header that other folders include")
    if len(onednn_files) > 1:
        problems.append(f"src/{onednn_files[1]}:1: a second file names oneDNN, beside src/{onednn_files[0]}")
    return problems + check_cmake(src, table)


def self_test(root):
    """Each change to a copy of the sources must be found where it is."""
    def append(path, text):
        def change(src):
            file = src / path
            file.parent.mkdir(parents=True, exist_ok=True)
            old = file.read_text(encoding="utf-8") if file.exists() else ""
            file.write_text(old + text, encoding="utf-8")
            return f"src/{path}:{(old + text).count(chr(10))}: "
        return change

    def replace(path, pattern, text):
        def change(src):
            file = src / path
            old = file.read_text(encoding="utf-8")
            match = re.search(pattern, old)
            assert match, f"{pattern} is not in {path}"
            file.write_text(old[:match.start()] + text + old[match.end():], encoding="utf-8")
            return f"src/{path}:{old.count(chr(10), 0, match.start()) + 1}: "
        return change

    cases = {
        "upward": append("base/bad.cpp", '#include "deck/deck.h"\n'),
        "sideways": append("text/bad.cpp", "\n\n#include \"score/rouge.h\"\n"),
        "around a corner": append("weave/bad.cpp", '#include "comm/communicator.h"\n'),
        "not there": append("text/bad.cpp", '#include "base/nothing.h"\n'),
        "MPI in a public header": append("comm/communicator.h", "#include <mpi.h>\n"),
        "MPI in a header reached by a public one": append("comm/ordered.h", "#include <mpi.h>\n"),
        "HDF5 in another folder": append("data/bad.cpp", "#include <hdf5.h>\n"),
        "oneDNN in another folder": append("model/bad.cpp", "#include <oneapi/dnnl/dnnl.hpp>\n"),
        "TOML in a public header": append("deck/deck.h", "#include <toml++/toml.h>\n"),
        "CUDA in a model": append("model/bad.h", "#include <cuda_runtime.h>\n"),
        "CUDA outside its folder": append("kernels/bad.cpp", "#include <cuda_runtime_api.h>\n"),
        "CUDA in the emulation's choice": append("device/cuda/launch.h", "#include <cuda_runtime.h>\n"),
        "intrinsics": append("kernels/cpu/bad.cpp", "#include <immintrin.h>\n"),
        "a folder without a row": append("extra/bad.cpp", "\n"),
        "a link too many": replace("CMakeLists.txt", r"selvage_folder\(score PUBLIC text", "selvage_folder(score PUBLIC text deck"),
        "a link too few": replace("CMakeLists.txt", r"selvage_folder\(weave PUBLIC text score", "selvage_folder(weave PUBLIC text"),
        "a row without a folder": replace("README.md", r"\| `weave` ", "| `weft` "),
        "a circle": replace("README.md", r"(\| `base` .*)\| - \|", "| `base` | x | sweep |"),
    }
    failed = 0
    base = check(root)
    if base:
        print("the sources themselves do not pass, see the check")
        return 1
    for name, change in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(pathlib.Path(root) / "src", pathlib.Path(folder) / "src")
            where = change(pathlib.Path(folder) / "src")
            problems = check(folder)
            good = any(problem.startswith(where) for problem in problems)
            failed += not good
            print(f"{'found' if good else 'MISSED'}: {name}: {next(iter(problems), 'nothing')}")
    return 1 if failed else 0


def main(arguments):
    if arguments[:1] == ["--self-test"]:
        return self_test(arguments[1])
    problems = check(arguments[0])
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
