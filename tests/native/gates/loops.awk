# The inner loop of a kernel, for the awk programs that read assembly. Loops are backward branches, from loop_first[i] to
# loop_last[i] in instructions; elements_until[n] counts what the matrix instructions among the first n take in. The inner loop
# is the innermost one with matrix instructions; of several, the one with most.
function elements_in(i) { return elements_until[loop_last[i]] - elements_until[loop_first[i]] }

function encloses(i, j) {
    return i != j && loop_first[i] <= loop_first[j] && loop_last[j] <= loop_last[i] && \
        loop_last[j] - loop_first[j] < loop_last[i] - loop_first[i]
}

function inner_loop(    i, j, is_inner, best) {
    best = -1
    for (i = 0; i < loops; i++) {
        is_inner = elements_in(i) > 0
        for (j = 0; j < loops; j++) if (encloses(i, j) && elements_in(j) > 0) is_inner = 0
        if (is_inner && (best < 0 || elements_in(i) > elements_in(best))) best = i
    }
    return best
}
