# The figures of bench/serve_boxes.sh, from its lines:
#   awk -F '\t' -v idle_w=3 -v core_w=2.5 -v others=0.7 -f bench/serve_boxes.awk RESULTS
# Means, and ratios to `one` with as many clients, paired by round: geometric means with
# Student intervals, and how many rounds had both. J is what boxes of their own would take: an idle floor for each box that is on,
# and what its core takes above it. Windows beside which others took more than `others` cores are
# left out.

function student(dof) { return dof >= 30 ? 2.04 : T[dof] }

# ratio(ROW, REFERENCE, COLUMN)
function ratio(row, reference, what,    r, n, m, s, x, half) {
    n = m = s = 0
    for (r = 1; r <= rounds; r++)
        if ((r, row, what) in value && (r, reference, what) in value) {
            x[++n] = log(value[r, row, what] / value[r, reference, what])
            m += x[n]
        }
    if (n == 0) return "-"
    m /= n
    for (r = 1; r <= n; r++) s += (x[r] - m) ^ 2
    half = n > 1 ? student(n - 1) * sqrt(s / (n - 1) / n) : 0
    return sprintf("x%.2f (%.2f to %.2f) %d", exp(m), exp(m - half), exp(m + half), n)
}

function mean(row, what,    r, n, m) {
    for (r = 1; r <= rounds; r++)
        if ((r, row, what) in value) {
            n++
            m += value[r, row, what]
        }
    return m / n
}

function keep(row, what, x) { value[$1, row, what] = x }

BEGIN {
    split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045", T, " ")
}

$1 > rounds { rounds = $1 }

# round arm clients answers wall_s s core_s busy_s meter_j said_j prompt/s answer/s tokens
NF == 13 && $1 > 0 { all[$2 " " $3]++ }
NF == 13 && $1 > 0 && ($8 - $7) / $6 <= others {
    row = $2 " " $3
    if (!(row in seen)) {
        seen[row] = ++n_rows
        clients[row] = $3
        rows[n_rows] = row
        rank[row] = $2 == "one" ? 1 : $2 == "small" ? 2 : $2 == "copies" ? 9 : 2 + length($2)
    }
    boxes = $2 == "one" || $2 == "small" ? 1 : 2
    keep(row, "s", $6)
    keep(row, "core", $7)
    keep(row, "j", boxes * idle_w * $6 + core_w * $7)
    keep(row, "busy", $8)
    keep(row, "meter", $9)
    keep(row, "said", $10)
    keep(row, "prompt", $11)
    keep(row, "answer", $12)
    n[row]++
    n_texts[row] += text[row] != $13
    text[row] = $13
}

# round way wall_s core_s prompt_tokens cached_tokens
NF == 6 {
    talks++
    keep($2, "talk_s", $3)
    keep($2, "talk_core", $4)
    keep($2, "cached", $6 / $5)
}

END {
    for (i = 2; i <= n_rows; i++) for (k = i; k > 1 && rank[rows[k]] < rank[rows[k - 1]]; k--) {
        row = rows[k]
        rows[k] = rows[k - 1]
        rows[k - 1] = row
    }
    printf "%-12s %7s %5s %8s %7s %7s %9s %9s %9s %9s %9s\n", "arm", "clients", "n", "s", "core s", "J", "J (meter)", "J (said)", "busy s", "prompt/s", "answer/s"
    for (c = 1; c <= 2; c++) for (i = 1; i <= n_rows; i++) if (clients[rows[i]] == c) {
        row = rows[i]
        split(row, name, " ")
        printf "%-12s %7d %5s %8.3f %7.3f %7.2f %9.2f %9.2f %9.3f %9.1f %9.1f\n", name[1], c, n[row] "/" all[row], mean(row, "s"), mean(row, "core"), mean(row, "j"), mean(row, "meter"), mean(row, "said"), mean(row, "busy"), mean(row, "prompt"), mean(row, "answer")
    }
    printf "\nratios to one  s                        core s                   J                        prompt/s                 answer/s\n"
    for (c = 1; c <= 2; c++) for (i = 1; i <= n_rows; i++) if (clients[rows[i]] == c && rows[i] != "one " c) {
        row = rows[i]
        printf "%-14s %-24s %-24s %-24s %-24s %s\n", row, ratio(row, "one " c, "s"), ratio(row, "one " c, "core"), ratio(row, "one " c, "j"), ratio(row, "one " c, "prompt"), ratio(row, "one " c, "answer")
    }
    printf "\n"
    for (i = 1; i <= n_rows; i++) printf "%s: %s\n", rows[i], (n_texts[rows[i]] > 1 ? "its answers differ from each other" : (text[rows[i]] == text["one 1"] ? "the same tokens as one" : "other tokens than one"))
    if (talks) {
        printf "\ntalk by load: %.2f s, %.2f core s, %.0f %% of the prompts cached\n", mean("copies", "talk_s"), mean("copies", "talk_core"), 100 * mean("copies", "cached")
        printf "talk by key:  %.2f s, %.2f core s, %.0f %% of the prompts cached\n", mean("by-key", "talk_s"), mean("by-key", "talk_core"), 100 * mean("by-key", "cached")
        printf "by load to by key: s %s, core s %s\n", ratio("copies", "by-key", "talk_s"), ratio("copies", "by-key", "talk_core")
    }
}
