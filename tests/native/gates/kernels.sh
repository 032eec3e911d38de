#!/bin/sh
# Holds what the compilers made of the kernels against rules:
#   kernels.sh cuda RULES FIGURES LAUNCHES REPORT...                    reports of ptxas, with the modules' PTX beside them
#   kernels.sh hip RULES FIGURES LAUNCHES LLVM_READELF LLVM_OBJDUMP OBJECT...    code objects
# LAUNCHES is the program that says how kernels are launched. All figures go to the file FIGURES. Prints those of the inner
# loops, and what breaks a rule.
set -eu
vendor=$1 rules=$2 figures=$3 launches=$4
shift 4
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

"$launches" >"$figures"
"$vendor" "$@" >>"$figures"
awk '{ key = $1 " " $2 " " $3 }
    $4 == "tile_elements" { elements[key] = $5 }
    $4 == "loop_instructions" && key in elements {
        printf "%s instructions_per_element %.2f\n", key, $5 / elements[key]
    }' "$figures" >"$figures.loops"
cat "$figures.loops" >>"$figures"
echo "Instructions of the loop over tiles, per element of K and V that a lane takes in:"
awk '{ printf "  %-16s %-32s %-8s %s\n", $1, $2, $3, $5 }' "$figures.loops"
rm "$figures.loops"
awk -f "$here/check.awk" "$rules" "$figures"
