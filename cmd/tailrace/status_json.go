package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/tailrace-go/tailrace/bus/connect"
)

// standingJSON is a table of an outbox as --json shows it. Times are RFC 3339, ages are in seconds. What could not
// be seen has an error, and nothing of tableJSON.
type standingJSON struct {
	Name     string      `json:"name"`   // as in metrics and logs: the label outbox
	Outbox   string      `json:"outbox"` // as it was given
	Database connect.DSN `json:"database"`
	Table    string      `json:"table"`
	Error    string      `json:"error,omitempty"`
	*tableJSON
}

type tableJSON struct {
	Owner        string    `json:"owner,omitempty"`
	OwnedSince   time.Time `json:"owned_since,omitzero"`
	LastBeat     *float64  `json:"last_beat_age_seconds,omitempty"`
	Group        string    `json:"group"`
	Members      int       `json:"members"`
	OwnerInGroup bool      `json:"owner_in_group"`
	Rows         int64     `json:"rows"`
	Pending      int64     `json:"pending"`
	Oldest       float64   `json:"oldest_pending_age_seconds"`
	Retrying     int64     `json:"retrying"`
	Blocked      int64     `json:"blocked"`
	Refusal      string    `json:"refusal,omitempty"`
	Dead         int64     `json:"dead"`
	Version      int64     `json:"version"`
	Latest       int64     `json:"latest_version"`
	LastID       int64     `json:"last_id"`
	MaxID        int64     `json:"max_id"`
	Shard        int       `json:"shard"`
	Shards       int       `json:"shards"`
	Open         bool      `json:"open"`
	Partitions   int       `json:"partitions"`
	Room         int64     `json:"partition_room_events"`
	Missing      []string  `json:"missing,omitempty"`
	Postponed    []string  `json:"postponed,omitempty"`
	Troubles     []string  `json:"troubles,omitempty"`
}

// printJSON prints one object a line.
func (all views) printJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	for _, v := range all {
		for _, s := range v.tables {
			if err := encoder.Encode(v.json(s)); err != nil {
				return err
			}
		}
		if v.err != nil {
			away := standingJSON{Name: v.name, Outbox: v.name, Database: v.database, Table: v.table, Error: v.err.Error()}
			if err := encoder.Encode(away); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v view) json(s standing) standingJSON {
	table := &tableJSON{
		Owner: s.Owner, OwnedSince: s.OwnedSince.UTC(), Group: v.group, Members: v.members(), OwnerInGroup: v.inGroup(s),
		Rows: max(s.Rows, 0), Pending: s.Pending, Oldest: s.OldestPending.Seconds(), Retrying: s.Retrying, Blocked: s.Blocked, Refusal: s.Refusal, Dead: s.Dead,
		Version: s.Version, Latest: s.Latest, LastID: s.LastID, MaxID: s.MaxID,
		Shard: s.shard.Number, Shards: len(v.tables), Open: s.shard.Open(), Partitions: s.Partitions, Room: s.Room,
		Missing: s.Missing, Postponed: s.Postponed, Troubles: v.troubles(s),
	}
	if s.Owner != "" {
		beat := s.LastBeat.Seconds()
		table.LastBeat = &beat
	}
	return standingJSON{Name: s.name, Outbox: v.name, Database: v.database, Table: s.Table, tableJSON: table}
}
