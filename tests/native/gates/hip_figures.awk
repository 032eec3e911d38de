# Figures of AMD kernels, from "llvm-readelf --notes" and then "llvm-objdump -d" of a code object, as lines "module kernel
# architecture figure value": awk -v module=NAME -v arch=gfx942 -f loops.awk -f hip_figures.awk notes
# assembly
function figure(name, value) { print module, kernel, arch, name, value }

function number(hex,    i, value) {
    value = 0
    hex = tolower(hex)
    for (i = 1; i <= length(hex); i++) value = value * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
    return value
}

# Registers are handed out to waves in steps; so many of a SIMD's waves find room for theirs.
function waves_per_simd(registers,    step, all, most) {
    if (arch ~ /^gfx9/) { step = 8; all = 512; most = 8 }
    else { step = 24; all = 1536; most = 16 }
    step = int((registers + step - 1) / step) * step
    if (step == 0) return most
    return int(all / step) < most ? int(all / step) : most
}

function finish(    name, loop) {
    if (kernel == "") return
    for (name in counted) figure(name, counts[name] + 0)
    loop = inner_loop()
    if (loop >= 0) {
        figure("loop_instructions", loop_last[loop] - loop_first[loop])
        figure("loop_matrix", matrices_in(loop))
    }
    kernel = ""
}

BEGIN {
    counted["matrix"] = "^v_(mfma|wmma)_f32_16x16x"
    counted["converts"] = "^v_cvt_(scalef32_)?pk_(f32|f16)_(fp8|bf8)"
    counted["narrowing_converts"] = "^v_cvt_pk_(fp8|bf8)_f32"
    counted["shared_loads"] = "^ds_(load|read)"
    counted["wide_loads"] = "^(global|buffer|flat)_load_(dwordx4|b128)"
    counted["scratch_accesses"] = "^scratch_"
    counted["byte_loads"] = "^(global|buffer|flat)_load_(ubyte|sbyte|u8|i8|d16_u8|d16_hi_u8|ubyte_d16|ubyte_d16_hi)"
}

FNR == 1 { is_assembly = NR != 1 }

!is_assembly && /^    \.name:/ { kernel = $2 }
!is_assembly && /^    \.(private_segment_fixed_size|group_segment_fixed_size|max_flat_workgroup_size|sgpr_spill_count|vgpr_count|vgpr_spill_count|uses_dynamic_stack):/ {
    found[$1] = $2
}
!is_assembly && /^    \.wavefront_size:/ {
    figure("stack_bytes", found[".private_segment_fixed_size:"] + (found[".uses_dynamic_stack:"] == "true"))
    figure("static_shared_bytes", found[".group_segment_fixed_size:"])
    figure("threads", found[".max_flat_workgroup_size:"])
    figure("spilled_registers", found[".vgpr_spill_count:"])
    figure("spilled_scalars", found[".sgpr_spill_count:"])  # to lanes of vector registers
    figure("registers", found[".vgpr_count:"])
    figure("waves_per_simd", waves_per_simd(found[".vgpr_count:"]))
    kernel = ""
}
!is_assembly { next }

/^[0-9a-f]+ <[A-Za-z0-9_]+>:$/ {
    finish()
    kernel = substr($2, 2, length($2) - 3)
    start = number($1)
    instructions = loops = matrices = 0
    split("", counts); split("", index_at); split("", matrices_until)
}
/^\t/ && kernel != "" {
    address = $0; sub(/.*\/\/ /, "", address); sub(/:.*/, "", address)
    index_at[number(address) - start] = instructions++
    for (name in counted) if ($1 ~ counted[name]) counts[name]++
    matrices += $1 ~ counted["matrix"]
    matrices_until[instructions] = matrices
    if ($1 ~ /^s_c?branch/ && $0 ~ /\+0x[0-9a-f]+>$/) {
        target = $0; sub(/.*\+0x/, "", target); sub(/>$/, "", target)
        if (number(target) in index_at) {
            loop_first[loops] = index_at[number(target)]
            loop_last[loops++] = instructions
        }
    }
}
END { finish() }
