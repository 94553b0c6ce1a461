# The job with mawk: `mawk -f count.awk -- REFERENCE LOG | sort`. Lines are split at their quotes, what is before the first at
# its spaces. The header is written by the caller.
BEGIN {
    split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", names, " ")
    for (number in names) months[names[number]] = sprintf("%02d", number)
    while ((getline row < ARGV[1]) > 0) {
        split(row, columns, ",")
        owner[columns[1]] = columns[2] "," columns[3]
    }
    ARGV[1] = ""
    FS = "\""
}

NF == 7 && $5 == " " && $7 == "" && $3 ~ /^ ([1-9][0-9][0-9]|-) ([0-9]+|-) $/ \
    && split($1, words, " ") == 5 && words[5] == "+0000]" {
    minute = substr(words[4], 1, 18)
    if (!(minute in windows)) windows[minute] = window(minute)
    if (windows[minute] != "")
        counts[windows[minute] "," ((words[1] in owner) ? owner[words[1]] : "Unknown,")]++
}

END {
    for (key in counts) print key "," counts[key]
}

# The start of the window of `[21/Nov/2026:04:37`, empty if that is no time.
function window(minute) {
    if (minute !~ /^\[[0-3][0-9]\/[A-Z][a-z][a-z]\/[0-9][0-9][0-9][0-9]:[0-2][0-9]:[0-5][0-9]$/) return ""
    if (!(substr(minute, 5, 3) in months)) return ""
    return substr(minute, 9, 4) "-" months[substr(minute, 5, 3)] "-" substr(minute, 2, 2) "T" substr(minute, 14, 2) ":" \
        sprintf("%02d", substr(minute, 17, 2) - substr(minute, 17, 2) % 5) ":00Z"
}
