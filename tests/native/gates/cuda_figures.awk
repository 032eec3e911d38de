# Figures of CUDA kernels, from the PTX of a module and then ptxas' report on it, as lines "module kernel architecture figure
# value": awk -v module=NAME -f loops.awk -f cuda_figures.awk
# NAME.keep/NAME.compute_*.ptx NAME.report
function figure(name, value) { print module, kernel, arch, name, value }

function finish(    name, loop) {
    if (kernel == "") return
    for (name in counted) figure(name, counts[name] + 0)
    figure("threads", threads)
    figure("resident", resident)
    register_budget[kernel, arch] = int(65536 / (threads * resident) / 8) * 8
    loop = inner_loop()
    if (loop >= 0) {
        figure("loop_instructions", work_until[loop_last[loop]] - work_until[loop_first[loop]])
        figure("loop_matrix", matrices_in(loop))
    }
    kernel = ""
}

function instruction(opcode, target,    name) {
    if (opcode !~ /^[a-z]/) return
    instructions++
    for (name in counted) if (opcode ~ counted[name]) counts[name]++
    matrices += opcode ~ counted["matrix"]
    work += opcode !~ /^mov\./  # names for what is in a register already, to ptxas
    matrices_until[instructions] = matrices
    work_until[instructions] = work
    if (opcode ~ /^bra/ && target in label_at) {
        loop_first[loops] = label_at[target]
        loop_last[loops++] = instructions
    }
}

BEGIN {
    counted["matrix"] = "^mma\\.sync\\.aligned\\.m16n8k16\\."
    counted["matrix_loads"] = "^ldmatrix\\."
    counted["async_copies"] = "^cp\\.async\\.(cg|ca|bulk)"
    counted["converts"] = "^cvt\\.rn\\.f16x2\\.e[45]m[23]x2$"
    counted["narrowing_converts"] = "^cvt\\.rn\\.satfinite\\.e[45]m[23]x2\\.f32$"
    counted["local_accesses"] = "^(ld|st)\\.local"
    counted["byte_loads"] = "^ld\\.((global|volatile|relaxed|weak|gpu|sys|nc)\\.)*[usb]8$"
}

FNR == 1 { finish(); is_report = FILENAME ~ /\.report$/ }

is_report && /Compiling entry function/ { split($0, part, "'"); kernel = part[2]; arch = part[4] }
is_report && /bytes stack frame/ {
    figure("stack_bytes", $1)
    figure("spilled_bytes", $5 + $9)
}
is_report && /Used [0-9]+ registers/ {
    for (i = 1; i <= NF; i++) {
        if ($(i) == "Used") figure("registers", $(i + 1))
        if ($(i) == "bytes" && $(i + 1) ~ /^smem/) figure("static_shared_bytes", $(i - 1))
    }
    if ((kernel, arch) in register_budget) figure("register_budget", register_budget[kernel, arch])
    kernel = ""
}
is_report { next }

/^\.visible \.entry/ {
    finish()
    kernel = $3; sub(/\(.*/, "", kernel)
    arch = FILENAME; sub(/.*\.compute_/, "sm_", arch); sub(/\.ptx$/, "", arch)
    instructions = loops = work = matrices = threads = 0
    resident = 1
    split("", counts); split("", label_at); split("", matrices_until); split("", work_until)
}
/^\.maxntid/ { threads = $2 + 0 }
/^\.minnctapersm/ { resident = $2 + 0 }
/^\$L__[A-Za-z0-9_]+:/ { sub(/:.*/, ""); label_at[$0] = instructions; next }
# Assembly in braces has several instructions in a line.
/^\t/ {
    statements = split($0, statement, ";")
    for (s = 1; s <= statements; s++) {
        sub(/^[\t {]+/, "", statement[s])
        split(statement[s], word, /[\t ]+/)
        if (word[1] ~ /^@/) instruction(word[2], word[3])
        else instruction(word[1], word[2])
    }
}
END { finish() }
