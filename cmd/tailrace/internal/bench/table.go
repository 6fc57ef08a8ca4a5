package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable writes the report for a person.
func (r Report) WriteTable(w io.Writer) error {
	lines := append([]string{""}, r.setting()...)
	rows := [][5]string{{"", "median", "min – max", "target", ""}}
	for _, m := range r.Measures {
		rows = append(rows, [5]string{m.Name + ": " + m.Question})
		if m.Score == nil {
			rows = append(rows, [5]string{"  skipped: " + m.Skipped})
			continue
		}
		for _, f := range m.Figures {
			row := [5]string{"  " + f.Name, format(f.Median, f.Unit), f.ends()}
			if f.Limit != nil {
				row[3], row[4] = f.Limit.Target.String(), verdict(f.Limit.Met)
			}
			rows = append(rows, row)
		}
		rows = append(rows, [5]string{"  = " + m.scoreName(), format(m.Score.Median, m.Score.Unit), m.Score.ends(), m.Target.String(), verdict(m.Target.met(m.Score.Median))})
	}
	var widths [5]int
	for _, row := range rows {
		for i, cell := range row {
			if row[1] != "" { // a heading runs through
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, row := range rows {
		if row[1] == "" && row[0][0] != ' ' {
			lines = append(lines, "")
		}
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
			if i == 0 || i == 4 {
				line.WriteString(cell + pad + "  ")
			} else {
				line.WriteString(pad + cell + "  ")
			}
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// scoreName says what the score is of.
func (m Result) scoreName() string {
	if m.Score.Unit == ratio {
		return m.Figures[0].Name + " / " + m.Baseline
	}
	return m.Score.Name
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// ends is the spread, nothing for a single round.
func (f Figure) ends() string {
	if len(f.Rounds) < 2 {
		return ""
	}
	return number(f.Min) + " – " + number(f.Max)
}

// setting is what it was measured on, a line each.
func (r Report) setting() []string {
	s := r.Settings
	lines := []string{
		fmt.Sprintf("tailrace %s, %s, %s, in %s", r.Version, r.Machine.Go, r.Started.Format(time.DateTime)+" UTC", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second)),
		fmt.Sprintf("machine     %s, %d cores, %s, %s%s", r.Machine.CPU, r.Machine.Cores, r.Machine.Memory, r.Machine.OS, r.Machine.autogroup()),
		"PostgreSQL  " + r.Postgres.String(),
		"Kafka       " + r.Kafka.String(),
		fmt.Sprintf("backlog     %s events of %d bytes with %s keys, %d partitions, acks=%s, %d rounds", number(float64(s.Events)), s.Bytes, number(float64(s.Keys)), s.Partitions, s.Acks, s.Repeat),
	}
	if tuned := s.tuned(); tuned != "" {
		lines = append(lines, "Tailrace    "+tuned)
	}
	if s.Quick {
		lines = append(lines, "--quick: this shows that all works; the figures mean little")
	}
	return lines
}

// tuned is what ours was told besides its defaults.
func (s Settings) tuned() string {
	var parts []string
	if s.BatchSize > 0 {
		parts = append(parts, "batch-size="+strconv.Itoa(s.BatchSize))
	}
	if s.Window > 0 {
		parts = append(parts, "window="+strconv.Itoa(s.Window))
	}
	if s.Compression != "" {
		parts = append(parts, "compression="+s.Compression)
	}
	return strings.Join(parts, ", ")
}

func (s Server) String() string {
	parts := []string{s.Version}
	if s.Embedded {
		parts[0] += " (embedded)"
	}
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		parts = append(parts, name+"="+s.Settings[name])
	}
	return strings.Join(parts, ", ")
}

// format is a value with its unit.
func format(value float64, unit string) string {
	if unit == ratio {
		return number(value) + ratio
	}
	return number(value) + " " + unit
}

// number writes three digits or more, thousands apart.
func number(value float64) string {
	switch {
	case value >= 1000:
		digits := strconv.FormatFloat(value, 'f', 0, 64)
		for at := len(digits) - 3; at > 0; at -= 3 {
			digits = digits[:at] + "," + digits[at:]
		}
		return digits
	case value >= 100:
		return strconv.FormatFloat(value, 'f', 0, 64)
	case value >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	default:
		return strconv.FormatFloat(value, 'f', 2, 64)
	}
}
