package main

import "fmt"

// troubles are what somebody should look at.
func (v view) troubles(s standing) []string {
	var all []string
	trouble := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	trouble(len(s.Missing) > 0, "it is not up to date: `%s`", migrateCommandFor(v.table))
	trouble(s.Owner == "", "nobody forwards it: run `tailrace forward`")
	trouble(s.Owner != "" && v.members() > 0 && !v.inGroup(s), "its owner is not of group %s", v.group)
	trouble(!s.shard.Open(), "not open yet: its events wait for older ones of their keys in the shards before it")
	trouble(s.Retrying > 0, "%s", s.refusal())
	trouble(s.Dead > 0, "%d dead: `tailrace deadletters list` says why", s.Dead)
	trouble(s.MaxID > 0 && s.Headroom() < 0.1, "%.1f%% of its ids are left", 100*s.Headroom())
	for _, warning := range s.Warnings {
		trouble(true, "%s", warning)
	}
	return all
}

// refusal says what is tried again, and why.
func (s standing) refusal() string {
	text := fmt.Sprintf("%d refused and tried again", s.Retrying)
	if s.Blocked > 0 {
		text += fmt.Sprintf(", %d wait behind", s.Blocked)
	}
	if s.Refusal != "" {
		text += ": " + short(visible(s.Refusal), 200)
	}
	return text
}
