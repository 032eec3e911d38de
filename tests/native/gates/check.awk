# Holds figures against rules: awk -f check.awk RULES FIGURES. A rule is "module kernel architecture figure relation limit",
# the first three as regular expressions, the limit a number or another figure. A rule that nothing matches has failed too.
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
{
    value[$1, $2, $3, $4] = $5
    if (!(($1, $2, $3) in seen)) {
        seen[$1, $2, $3] = 1
        kernels++
        module_of[kernels] = $1; kernel_of[kernels] = $2; arch_of[kernels] = $3
    }
}
END {
    for (r = 1; r <= rules; r++) {
        matched = 0
        for (k = 1; k <= kernels; k++) {
            m = module_of[k]; n = kernel_of[k]; a = arch_of[k]
            if (m !~ module[r] || n !~ kernel[r] || a !~ arch[r]) continue
            if (!((m, n, a, figure[r]) in value)) continue
            matched++
            bound = limit[r] ~ /^-?[0-9.]+$/ ? limit[r] + 0 : value[m, n, a, limit[r]] + 0
            if (holds(value[m, n, a, figure[r]] + 0, relation[r], bound)) continue
            printf "%s (module %s) for %s: %s is %s, and must be %s %s (rule in line %d)\n", n, m, a, figure[r],
                value[m, n, a, figure[r]], relation[r], limit[r] ~ /^-?[0-9.]+$/ ? bound : limit[r] " = " bound, line[r]
            failures++
        }
        checks += matched
        if (!matched) { printf "the rule in line %d matches no kernel: %s\n", line[r], text[r]; failures++ }
    }
    printf "%d kernels (modules and architectures apart), %d checks, %d failures\n", kernels, checks, failures
    exit failures > 0
}
