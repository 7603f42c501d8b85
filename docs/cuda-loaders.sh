#!/usr/bin/env bash
# Archives that stand for NVIDIA's libraries when `seal` is linked and open the real ones when they are
# first called. So the program starts where they are missing, and says so instead of ending there.
#
#   bash docs/cuda-loaders.sh FOLDER     # writes FOLDER/libcuda.a, libcublas.a, …
#
# Wanted: cargo (to find the sources of cudarc), python3, gcc, ar. x86-64 Linux. See docs/CUDA.md.
set -euo pipefail
[ $# = 1 ] || { echo "usage: bash docs/cuda-loaders.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cudarc=$(cargo metadata --format-version 1 --locked --features cuda | python3 -c '
import json, os, sys
found = [p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"]
print(os.path.dirname(found[0]) if found else "")')
[ -n "$cudarc" ] || { echo "cudarc is not among the dependencies" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# library, cudarc module, name the loader opens, status of a call that finds no library
while read -r library module soname status; do
    python3 - "$cudarc/src/$module/sys/mod.rs" "$soname" "$status" > "$work/$library.c" <<'PY'
import re, sys
source, soname, status = sys.argv[1:]
tag = re.sub(r"\W", "_", soname)
found = re.findall(r'extern "C" \{\s*fn (\w+)\s*\(([^;]*);', open(source).read())
names = sorted({name for name, _ in found})
texts = {name for name, rest in found if "-> *const" in re.sub(r"\s+", " ", rest)}
assert names, f"{source} declares no function"
quoted = ", ".join(f'"{name}"' for name in names)
is_text = ", ".join(str(int(name in texts)) for name in names)
print(f"""#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
static const char *const names[] = {{{quoted}}};
static const char is_text[] = {{{is_text}}};
__attribute__((visibility("hidden"))) void *slots_{tag}[{len(names)}];
static long absent(void) {{ return {status}; }}
static const char *absent_text(void) {{ return "{soname} is missing"; }}
/* Two threads may both look: they find the same. */
__attribute__((used, visibility("hidden"))) void *look_up_{tag}(long at) {{
    static void *library;
    static int told;
    if (!library) library = dlopen("{soname}", RTLD_NOW | RTLD_GLOBAL);
    void *found = library ? dlsym(library, names[at]) : 0;
    /* A machine without a driver is no surprise; one with a driver alone is. */
    if (!found && !told++ && dlopen("libcuda.so.1", RTLD_LAZY))
        fprintf(stderr, "%s: not found; see docs/CUDA.md\\n", library ? names[at] : "{soname}");
    void *none = is_text[at] ? (void *)absent_text : (void *)absent;
    return slots_{tag}[at] = found ? found : none;
}}""")
# Arguments travel in these registers and on the stack: all must reach the real function untouched.
saved = ["%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9"]
push = "".join(f"    push {r}\\n" for r in saved)
pop = "".join(f"    pop {r}\\n" for r in reversed(saved))
store = "".join(f"    movups %xmm{i}, {16 * i}(%rsp)\\n" for i in range(8))
load = "".join(f"    movups {16 * i}(%rsp), %xmm{i}\\n" for i in range(8))
print(f'''__asm__(".text\\nfind_{tag}:\\n{push}    sub $136, %rsp\\n{store}"
    "    mov %rax, %rdi\\n    call look_up_{tag}\\n    mov %rax, %r11\\n{load}"
    "    add $136, %rsp\\n{pop}    jmp *%r11\\n");''')
for at, name in enumerate(names):
    print(f'''__asm__(".globl {name}\\n.type {name}, @function\\n{name}:\\n"
    "    mov slots_{tag}+{8 * at}(%rip), %r11\\n    test %r11, %r11\\n    jz 1f\\n    jmp *%r11\\n"
    "1:  mov ${at}, %eax\\n    jmp find_{tag}\\n");''')
PY
    gcc -O2 -fPIC -c "$work/$library.c" -o "$work/$library.o"
    rm -f "$out/lib$library.a"
    ar rcs "$out/lib$library.a" "$work/$library.o"
    echo "lib$library.a: $(nm -g --defined-only "$work/$library.o" | grep -c ' T ') functions of $soname"
done <<'LIBRARIES'
cuda driver libcuda.so.1 100
cublas cublas libcublas.so.13 1
cublasLt cublaslt libcublasLt.so.13 1
curand curand libcurand.so.10 203
nvrtc nvrtc libnvrtc.so.13 3
LIBRARIES
