# Holds figures against rules: awk -f check.awk RULES FIGURES. A rule is "module kernel architecture figure relation limit",
# the first three as regular expressions, the limit a number or another figure. Of the rules for a figure of a kernel the last
# one holds, so exceptions come after what they except. A rule that no kernel matches has failed too, unless its architectures
# were not built.
function holds(value, relation, limit) {
    if (relation == "<=") return value <= limit
    if (relation == ">=") return value >= limit
    return relation == "=" && value == limit
}

# Kernel number k against rule number r.
function check(k, r,    m, n, a, found, bound, is_number) {
    m = module_of[k]; n = kernel_of[k]; a = arch_of[k]
    is_number = limit[r] ~ /^[0-9.]+$/
    found = value[m, n, a, figure[r]] + 0
    bound = is_number ? limit[r] + 0 : value[m, n, a, limit[r]] + 0
    checks++
    if (holds(found, relation[r], bound)) return
    printf "%s (module %s) for %s: %s is %s and must be %s %s%s (rule in line %d)\n", n, m, a, figure[r], found, \
        relation[r], bound, is_number ? "" : ", its " limit[r], line[r]
    failures++
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
            built += arch_of[k] ~ arch[r]
            if (module_of[k] !~ module[r] || kernel_of[k] !~ kernel[r] || arch_of[k] !~ arch[r]) continue
            if (!((module_of[k], kernel_of[k], arch_of[k], figure[r]) in value)) continue
            matched++
            rule_of[k, figure[r]] = r
        }
        if (built && !matched) { printf "the rule in line %d matches no kernel: %s\n", line[r], text[r]; failures++ }
    }
    for (r = 1; r <= rules; r++)
        for (k = 1; k <= kernels; k++) if (((k, figure[r]) in rule_of) && rule_of[k, figure[r]] == r) check(k, r)
    printf "%d kernels, each architecture's counted, %d checks, %d failures\n", kernels, checks, failures
    exit failures > 0
}
