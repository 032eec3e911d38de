# The program of scripts/gpu-report: name and folder are given.

# A member's value in a line of JSON without nesting, or "".
function member(line, key,    at, value) {
    at = index(line, "\"" key "\": ")
    if (at == 0) return ""
    value = substr(line, at + length(key) + 4)
    if (substr(value, 1, 1) == "\"") {
        value = substr(value, 2)
        return substr(value, 1, index(value, "\"") - 1)
    }
    match(value, /^[-0-9.a-z+]+/)
    return substr(value, 1, RLENGTH)
}

function put(text) { print text > page }

# Context or tokens as people write them: 8192 is 8k.
function short(n) { return n >= 1024 && n % 1024 == 0 ? n / 1024 "k" : n "" }

function dtype(line) { return member(line, "kv_cache_dtype") == "bfloat16" ? "BF16" : "FP8" }

# Adds n to a list of distinct numbers, list[0] of them, kept ascending.
function insert(list, n,    i) {
    for (i = 1; i <= list[0]; i++) if (list[i] == n) return
    for (i = ++list[0]; i > 1 && list[i - 1] > n; i--) list[i] = list[i - 1]
    list[i] = n
}

function start_plot(file, title, y_title,    i, y) {
    svg = folder "/" file
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 400\" font-family=\"sans-serif\" font-size=\"12\">" > svg
    print "<rect width=\"720\" height=\"400\" fill=\"white\"/>" > svg
    print "<text x=\"60\" y=\"24\" font-size=\"15\">" title "</text>" > svg
    print "<text x=\"60\" y=\"44\" fill=\"#555\">" y_title "</text>" > svg
    for (i = 0; i <= 5; i++) {
        y = 350 - 58 * i
        print "<path d=\"M60 " y "H560\" stroke=\"#ddd\"/><text x=\"52\" y=\"" y + 4 "\" text-anchor=\"end\">" \
            sprintf("%g", plot_top * i / 5) "</text>" > svg
    }
    plots++
}

function x_of(i) { return contexts[0] > 1 ? 75 + 470 * (i - 1) / (contexts[0] - 1) : 310 }

function end_plot(x_title,    i) {
    for (i = 1; i <= contexts[0]; i++)
        print "<text x=\"" x_of(i) "\" y=\"370\" text-anchor=\"middle\">" short(contexts[i]) "</text>" > svg
    print "<text x=\"310\" y=\"390\" text-anchor=\"middle\" fill=\"#555\">" x_title "</text>" > svg
    print "</svg>" > svg
    close(svg)
}

# A line over the contexts: values[what, context], dashed or not, named at the right.
function plot_line(values, what, label, number, dashed,    i, points, y, colour, key_y) {
    colour = palette[(number - 1) % 6 + 1]
    for (i = 1; i <= contexts[0]; i++) {
        if (!((what, contexts[i]) in values)) continue
        y = 350 - 290 * values[what, contexts[i]] / plot_top
        points = points " " x_of(i) "," sprintf("%.1f", y < 50 ? 50 : y)
    }
    if (points == "") return
    key_y = 70 + 18 * keys++
    print "<polyline points=\"" points "\" fill=\"none\" stroke=\"" colour "\" stroke-width=\"2\"" \
        (dashed ? " stroke-dasharray=\"6 4\"" : "") "/>" > svg
    print "<path d=\"M580 " key_y "H610\" stroke=\"" colour "\" stroke-width=\"2\"" \
        (dashed ? " stroke-dasharray=\"6 4\"" : "") "/><text x=\"616\" y=\"" key_y + 4 "\">" label "</text>" > svg
}

BEGIN {
    page = folder "/" name ".md"
    split("#1b6ca8 #d1495b #2e8b57 #8a5fbf #c77800 #444444", palette, " ")
}

/^"device"/ { device = member($0, "name"); arch = member($0, "arch"); driver = member($0, "driver"); emulated = member($0, "emulated") }
/^\{"date"/ { date = substr(member($0, "date"), 1, 10) }
/^"tests"/ { tests = member($0, "passed") " tests passed, " member($0, "failed") " failed, " member($0, "skipped") " skipped" }
/^"copy_gbps"/ { copy = member($0, "copy_gbps") }
/^"[a-z_]+": \[/ { section = $0; gsub(/[":\[ ]/, "", section); next }
/^  \{/ && section == "decode" {
    group = member($0, "q_heads") / member($0, "kv_heads")
    batch = member($0, "batch"); context = member($0, "context")
    key = member($0, "batch_invariant") SUBSEP group SUBSEP dtype($0) SUBSEP batch
    us[key, context] = member($0, "us")
    percent[key, context] = member($0, "percent_of_copy_bandwidth")
    gbps[key, context] = member($0, "gbps")
    if (member($0, "time_vs_bf16") != "") ratio[key, context] = member($0, "time_vs_bf16")
    insert(groups, group); insert(batches, batch + 0); insert(contexts, context + 0)
}
/^  \{/ { lines[section, ++count[section]] = $0 }

END {
    put("# " device ", " date "\n")
    put((emulated == "true" ? "An emulated GPU: these are not measurements, they show the page's form.\n\n" : "") \
        arch (driver == "" ? "" : ", " driver) ". " (tests == "" ? "" : tests ". ") \
        "Copy bandwidth in the same run: " copy " GB/s, reads and writes counted. Made by\n")
    put("    scripts/gpu-verify\n    scripts/gpu-report " name ".json\n")
    put("Each figure is the median over runs of back-to-back launches of one layer, on layers in turn, so that none is found in L2.")
    put("Head size 128, 8 KV heads, blocks of 16 tokens, bfloat16 queries and outputs.\n")

    for (g = 1; g <= groups[0]; g++) {
        group = groups[g]
        title = group == 1 ? "MHA" : "GQA " group
        file = name "-decode-gqa" group ".svg"
        plot_top = 100; keys = 0
        start_plot(file, "Decode, " title, "percent of the copy bandwidth")
        for (b = 1; b <= batches[0]; b++) {
            key = "false" SUBSEP group SUBSEP
            plot_line(percent, key "FP8" SUBSEP batches[b], "FP8, batch " batches[b], b, 0)
            plot_line(percent, key "BF16" SUBSEP batches[b], "BF16, batch " batches[b], b, 1)
        }
        end_plot("context, tokens")
        put("## Decode, " title "\n\n![" title "](" file ")\n")
        put("| batch | context | BF16 us | GB/s | % of copy | FP8 us | GB/s | % of copy | FP8 : BF16 | batch-invariant FP8 us |")
        put("|---|---|---|---|---|---|---|---|---|---|")
        for (b = 1; b <= batches[0]; b++)
            for (c = 1; c <= contexts[0]; c++) {
                bf16 = "false" SUBSEP group SUBSEP "BF16" SUBSEP batches[b] SUBSEP contexts[c]
                fp8 = "false" SUBSEP group SUBSEP "FP8" SUBSEP batches[b] SUBSEP contexts[c]
                if (!(bf16 in us) && !(fp8 in us)) continue
                put("| " batches[b] " | " short(contexts[c]) " | " us[bf16] " | " gbps[bf16] " | " percent[bf16] " | " us[fp8] \
                    " | " gbps[fp8] " | " percent[fp8] " | " ratio[fp8] " | " \
                    us["true" SUBSEP group SUBSEP "FP8" SUBSEP batches[b] SUBSEP contexts[c]] " |")
            }
        put("")
    }

    for (invariant = 0; invariant <= 1; invariant++) {
        file = name "-ratio" (invariant ? "-batch-invariant" : "") ".svg"
        plot_top = 1.25; keys = 0
        start_plot(file, "Decode, GQA 4: FP8's time as a part of BF16's" (invariant ? ", batch-invariant plan" : ""), "ratio")
        for (b = 1; b <= batches[0]; b++)
            plot_line(ratio, (invariant ? "true" : "false") SUBSEP 4 SUBSEP "FP8" SUBSEP batches[b], "batch " batches[b], b, 0)
        end_plot("context, tokens")
        put("![FP8 : BF16](" file ")\n")
    }

    if (count["other_decode"] > 0) {
        put("## Decode of several queries, and of one long text among short ones\n")
        put("| batch | queries | context | longest | plan | dtype | us | GB/s | % of copy | FP8 : BF16 |\n|---|---|---|---|---|---|---|---|---|---|")
    }
    for (i = 1; i <= count["other_decode"]; i++) {
        line = lines["other_decode", i]
        put("| " member(line, "batch") " | " member(line, "queries") " | " short(member(line, "context")) " | " \
            short(member(line, "longest")) " | " (member(line, "batch_invariant") == "true" ? "batch-invariant" : "default") \
            " | " dtype(line) " | " member(line, "us") " | " member(line, "gbps") " | " \
            member(line, "percent_of_copy_bandwidth") " | " member(line, "time_vs_bf16") " |")
    }
    if (count["other_decode"] > 0) put("")

    put("## Prefill\n\n| batch | queries | context | dtype | us | TFLOPS | FP8 : BF16 |\n|---|---|---|---|---|---|---|")
    for (i = 1; i <= count["prefill"]; i++) {
        line = lines["prefill", i]
        put("| " member(line, "batch") " | " short(member(line, "queries")) " | " short(member(line, "context")) " | " dtype(line) \
            " | " member(line, "us") " | " member(line, "tflops") " | " member(line, "time_vs_bf16") " |")
    }
    put("\n## Write: rotary embedding, quantization and scatter\n\n| tokens | dtype | us | GB/s | FP8 : BF16 |\n|---|---|---|---|---|")
    for (i = 1; i <= count["write"]; i++) {
        line = lines["write", i]
        put("| " short(member(line, "tokens")) " | " dtype(line) " | " member(line, "us") " | " member(line, "gbps") " | " \
            member(line, "time_vs_bf16") " |")
    }
    put("\n## Cast\n\n| from | to | us | GB/s | % of copy |\n|---|---|---|---|---|")
    for (i = 1; i <= count["cast"]; i++) {
        line = lines["cast", i]
        put("| " member(line, "from") " | " member(line, "to") " | " member(line, "us") " | " member(line, "gbps") " | " \
            member(line, "percent_of_copy_bandwidth") " |")
    }
    if (count["matmul"] > 0)
        put("\n## Matrix products, by the vendor's library\n\n| tokens | outputs | inputs | us | GB/s of weights | TFLOPS |\n|---|---|---|---|---|---|")
    for (i = 1; i <= count["matmul"]; i++) {
        line = lines["matmul", i]
        put("| " short(member(line, "tokens")) " | " member(line, "outputs") " | " member(line, "inputs") " | " \
            member(line, "us") " | " member(line, "weights_gbps") " | " member(line, "tflops") " |")
    }
    if (count["left_out_for_memory"] > 0) {
        put("\n## Left out, for they do not fit\n\n| batch | context | dtype | GB needed | GB free |\n|---|---|---|---|---|")
        for (i = 1; i <= count["left_out_for_memory"]; i++) {
            line = lines["left_out_for_memory", i]
            put("| " member(line, "batch") " | " short(member(line, "context")) " | " dtype(line) " | " \
                sprintf("%.1f | %.1f", member(line, "needs_bytes") / 1e9, member(line, "free_bytes") / 1e9) " |")
        }
    }
    print page ", " plots " plots"
}
