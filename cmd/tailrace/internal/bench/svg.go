package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// The drawing's measures, in SVG's pixels.
const (
	svgWidth   = 860
	svgMargin  = 20
	svgLabel   = 230 // where bars begin
	svgBar     = 18
	svgRow     = 24
	svgTitle   = 26
	svgGap     = 26
	svgLongest = svgWidth - svgLabel - svgMargin - 130 // leaves room for the value behind it
)

// svgStyle is readable on white and on black; the reader's setting decides.
const svgStyle = `
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.title{font-weight:600}.note{fill:#59636e}.ours{fill:#0969da}.other{fill:#8c959f}.missed{fill:#bc4c00}.spread{stroke:#1f2328;stroke-width:2;opacity:.45}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.ours{fill:#4493f8}.other{fill:#656c76}.missed{fill:#f0883e}.spread{stroke:#e6edf3}}
`

// WriteSVG draws, for each measure, ours against what it is compared with.
func (r Report) WriteSVG(w io.Writer) error {
	var body strings.Builder
	y := svgMargin
	for _, m := range r.Measures {
		if m.Score != nil && len(m.bars()) > 0 {
			y = m.draw(&body, y)
		}
	}
	for _, line := range r.setting() {
		for _, part := range broken(line) {
			y += svgBar
			svgText(&body, svgMargin, y, "note", part)
		}
	}
	y += svgMargin
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Tailrace against what it is compared with">
<style>%s</style>
%s</svg>
`, svgWidth, y, svgWidth, y, svgStyle, body.String())
	if err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// bars are the figures that can be drawn beside the first, or beside a score that is no ratio of two of them.
func (m Result) bars() []Figure {
	all := m.Figures
	if m.Score.Unit != ratio {
		all = append([]Figure{*m.Score}, m.Figures...)
	}
	var bars []Figure
	for _, f := range all {
		if f.Unit == all[0].Unit && f.Median > 0 {
			bars = append(bars, f)
		}
	}
	return bars
}

// draw draws a measure below y and returns where it ends.
func (m Result) draw(w *strings.Builder, y int) int {
	bars := m.bars()
	scale, logarithmic := scaleOf(bars)
	y += svgBar
	title := m.Question
	svgText(w, svgMargin, y, "title", title)
	verdict, class := fmt.Sprintf("%s, target %s: %s", format(m.Score.Median, m.Score.Unit), m.Target, verdict(m.Met)), "note"
	if !m.Met {
		class = "missed"
	}
	if logarithmic {
		verdict += "; the bars are logarithmic"
	}
	y += svgBar
	svgText(w, svgMargin, y, class, verdict)
	y += svgTitle - svgBar
	for _, f := range bars {
		length := max(1, int(math.Round(scale(f.Median)*svgLongest)))
		class := "other"
		if strings.HasPrefix(f.Name, tailraceName) || m.Score.Unit != ratio {
			class = "ours"
		}
		svgText(w, svgMargin, y+svgBar-4, "", f.Name)
		fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="2"/>`+"\n", class, svgLabel, y, length, svgBar)
		end := float64(svgLabel + length)
		if f.Min < f.Max {
			end = svgLabel + scale(f.Max)*svgLongest
			fmt.Fprintf(w, `<path class="spread" d="M%.1f %dH%.1f"/>`+"\n", svgLabel+max(0, scale(f.Min))*svgLongest, y+svgBar/2, end)
		}
		svgText(w, int(end)+8, y+svgBar-4, "", format(f.Median, f.Unit))
		y += svgRow
	}
	return y + svgGap - svgRow + svgBar
}

// scaleOf maps values to parts of the longest bar: by their size, or by its logarithm when a short bar
// could not be seen beside a long one.
func scaleOf(bars []Figure) (scale func(float64) float64, logarithmic bool) {
	least, most := bars[0].Median, bars[0].Max
	for _, f := range bars {
		least, most = min(least, f.Median), max(most, f.Max)
	}
	if most/least < 20 {
		return func(v float64) float64 { return v / most }, false
	}
	origin := math.Ceil(math.Log10(least)) - 1
	return func(v float64) float64 { return (math.Log10(v) - origin) / (math.Log10(most) - origin) }, true
}

// broken breaks a line behind commas so that it fits.
func broken(line string) []string {
	const fits = 120
	var parts []string
	for len(line) > fits {
		at := strings.LastIndex(line[:fits], ", ")
		if at < 0 {
			break
		}
		parts = append(parts, line[:at+1])
		line = "    " + line[at+2:]
	}
	return append(parts, line)
}

func svgText(w *strings.Builder, x, y int, class, text string) {
	fmt.Fprintf(w, `<text x="%d" y="%d"`, x, y)
	if class != "" {
		fmt.Fprintf(w, ` class="%s"`, class)
	}
	w.WriteByte('>')
	_ = xml.EscapeText(w, []byte(text)) // A strings.Builder takes all.
	w.WriteString("</text>\n")
}
