# Holds figures against rules: awk -f check.awk RULES FIGURES. A rule is "module kernel architecture figure relation limit",
# the first three as regular expressions, the limit a number or another figure. A rule that no kernel matches has failed too,
# unless its architectures were not built.
function holds(value, relation, limit) {
    if (relation == "<=") return value <= limit
    if (relation == ">=") return value >= limit
    return relation == "=" && value == limit
}

FNR == NR {
    sub(/#.*/, "")
    if (NF == 0) next
    if (NF != 6 || $5 !~ /^(<=|>=|=)$/) { print FILENAME ":" FNR ": not a rule: " $0; failures++; next }
    rules++
    line[rules] = FNR; module[rules] = "^(" $1 ")$"; kernel[rules] = "^(" $2 ")$"; arch[rules] = "^(" $3 ")$"
    figure[rules] = $4; relation[rules] = $5; limit[rules] = $6; text[rules] = $0
    next
}
{ value[$1, $2, $3, $4] = $5 }
$4 == "registers" {  # every kernel that was compiled has them
    kernels++
    module_of[kernels] = $1; kernel_of[kernels] = $2; arch_of[kernels] = $3
}
END {
    for (r = 1; r <= rules; r++) {
        matched = built = 0
        for (k = 1; k <= kernels; k++) {
            m = module_of[k]; n = kernel_of[k]; a = arch_of[k]
            built += a ~ arch[r]
            if (m !~ module[r] || n !~ kernel[r] || a !~ arch[r]) continue
            if (!((m, n, a, figure[r]) in value)) continue
            matched++
            found = value[m, n, a, figure[r]] + 0
            bound = limit[r] ~ /^[0-9.]+$/ ? limit[r] + 0 : value[m, n, a, limit[r]] + 0
            if (holds(found, relation[r], bound)) continue
            printf "%s (module %s) for %s: %s is %s and must be %s %s%s (rule in line %d)\n", n, m, a, figure[r], found, \
                relation[r], bound, limit[r] == bound "" ? "" : ", its " limit[r], line[r]
            failures++
        }
        checks += matched
        if (built && !matched) { printf "the rule in line %d matches no kernel: %s\n", line[r], text[r]; failures++ }
    }
    printf "%d kernels, each architecture's counted, %d checks, %d failures\n", kernels, checks, failures
    exit failures > 0
}
