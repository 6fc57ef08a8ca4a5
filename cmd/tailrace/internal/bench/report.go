package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Report is what a run found, and what it was found on.
type Report struct {
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Version  string    `json:"version"`
	Machine  Machine   `json:"machine"`
	Postgres Server    `json:"postgres"`
	Kafka    Server    `json:"kafka"`
	Settings Settings  `json:"settings"`
	Measures []Result  `json:"measures"`
}

// Machine is what everything ran on, but for servers elsewhere.
type Machine struct {
	OS     string `json:"os"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Go     string `json:"go"`
	// Autogroup tells that the kernel shares the processors out by session, /proc/sys/kernel/sched_autogroup_enabled.
	Autogroup bool `json:"sched_autogroup"`
}

// autogroup is what the report's head says of it.
func (m Machine) autogroup() string {
	if m.Autogroup {
		return ", sched_autogroup on"
	}
	return ""
}

// Server is a database or a cluster.
type Server struct {
	Version  string `json:"version"`
	Embedded bool   `json:"embedded"`
	// Settings are those that matter for the figures, as the server tells them.
	Settings map[string]string `json:"settings"`
}

// Settings are what the measures were taken with.
type Settings struct {
	Events     int    `json:"events"`
	Bytes      int    `json:"bytes"`
	Keys       int    `json:"keys"`
	Partitions int32  `json:"partitions"`
	Acks       string `json:"acks"`
	Repeat     int    `json:"repeat"`
	Quick      bool   `json:"quick"`
	// What ours was told besides its defaults.
	BatchSize   int    `json:"batch_size,omitempty"`
	Window      int    `json:"window,omitempty"`
	Compression string `json:"compression,omitempty"`
}

// Result is what became of a measure.
type Result struct {
	Name     string `json:"name"`
	Question string `json:"question"`
	Baseline string `json:"baseline,omitempty"`
	// Score is what the target is about; nil when the measure was skipped.
	Score  *Figure `json:"score,omitempty"`
	Target Target  `json:"target"`
	// Met: the score and every figure that has a limit are within theirs.
	Met     bool     `json:"met"`
	Skipped string   `json:"skipped,omitempty"`
	Figures []Figure `json:"figures,omitempty"`
}

// Target is what the median of a measure's rounds has to reach, or must not exceed.
type Target struct {
	Value  float64 `json:"value"`
	AtMost bool    `json:"at_most,omitempty"`
	Unit   string  `json:"unit"`
}

func (t Target) met(value float64) bool {
	if t.AtMost {
		return value <= t.Value
	}
	return value >= t.Value
}

func (t Target) String() string {
	sign := "≥"
	if t.AtMost {
		sign = "≤"
	}
	return sign + " " + format(t.Value, t.Unit)
}

// Figure is a value of each round, and what they come to.
type Figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Spread
	// Limit is the figure's own target, beside that of the score.
	Limit *Limit `json:"limit,omitempty"`
}

// Limit is a target, and whether the median is within it.
type Limit struct {
	Target Target `json:"target"`
	Met    bool   `json:"met"`
}

// Spread is the values of all rounds in their order, and their middle and ends.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Rounds []float64 `json:"rounds"`
}

func spreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1], Rounds: values}
}

// Missed names the measures that missed their target.
func (r Report) Missed() []string {
	var names []string
	for _, result := range r.Measures {
		if result.Score != nil && !result.Met {
			names = append(names, result.Name)
		}
	}
	return names
}

// WriteJSON writes the report as one indented object.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
