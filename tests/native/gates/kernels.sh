#!/bin/sh
# Holds what the compilers made of the kernels against rules:
#   kernels.sh cuda RULES FIGURES REPORT...                         reports of ptxas, with the modules' PTX beside them
#   kernels.sh hip RULES FIGURES LLVM_READELF LLVM_OBJDUMP OBJECT...    code objects
# All figures go to the file FIGURES. Prints those of the inner loops, and what breaks a rule.
set -eu
vendor=$1 rules=$2 figures=$3
shift 3
here=$(dirname "$0")

cuda() {
    for report in "$@"; do
        awk -v module="$(basename "$report" .report)" -f "$here/loops.awk" -f "$here/cuda_figures.awk" \
            "${report%.report}.keep/"*.ptx "$report"
    done
}

hip() {
    readelf=$1 objdump=$2
    shift 2
    for object in "$@"; do
        name=$(basename "$object" .co)
        "$readelf" --notes "$object" >"$figures.notes"
        "$objdump" -d "$object" >"$figures.s"
        awk -v module="${name%.*}" -v arch="${name##*.}" -f "$here/loops.awk" -f "$here/hip_figures.awk" \
            "$figures.notes" "$figures.s"
    done
    rm "$figures.notes" "$figures.s"
}

"$vendor" "$@" >"$figures"
echo "Instructions of the inner loop per element of K and V, in each lane:"
awk '$4 == "instructions_per_element" { printf "  %-36s %-8s %s\n", $2, $3, $5 }' "$figures"
awk -f "$here/check.awk" "$rules" "$figures"
