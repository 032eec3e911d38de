# The inner loop of a kernel, for the programs that read assembly. Loops are backward branches, from loop_first[i] to
# loop_last[i] in instructions; matrices_until[n] counts the matrix instructions among the first n. The inner loop is the
# innermost one with matrix instructions; of several, the one with most.
function matrices_in(i) { return matrices_until[loop_last[i]] - matrices_until[loop_first[i]] }

function encloses(i, j) {
    return i != j && loop_first[i] <= loop_first[j] && loop_last[j] <= loop_last[i] && \
        loop_last[j] - loop_first[j] < loop_last[i] - loop_first[i]
}

function inner_loop(    i, j, is_inner, best) {
    best = -1
    for (i = 0; i < loops; i++) {
        is_inner = matrices_in(i) > 0
        for (j = 0; j < loops; j++) if (encloses(i, j) && matrices_in(j) > 0) is_inner = 0
        if (is_inner && (best < 0 || matrices_in(i) > matrices_in(best))) best = i
    }
    return best
}
