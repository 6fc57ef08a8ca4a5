// Package archtest checks which package may depend on which, through any number of steps. The linter's
// rules (depguard in .golangci.yaml) look at one import at a time and at the line it stands on; this
// looks at what a binary would link.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Graph is the imports of each package, by import path, without those of its tests.
type Graph map[string][]string

// Rule says what the packages of a room must not depend on.
type Rule struct {
	// Why is the reason, for who breaks the rule.
	Why string
	// Room holds the packages that the rule is for, and Except those that it spares. A pattern is an
	// import path; with "/..." at its end it holds the packages below too.
	Room, Except []string
	// Never holds the packages that they must not depend on.
	Never []string
}

// Broken returns a sentence for each package that breaks the rule, with the way that leads there.
func (r Rule) Broken(graph Graph) []string {
	var broken []string
	for pkg := range graph {
		if !holds(r.Room, pkg) || holds(r.Except, pkg) {
			continue
		}
		if way := graph.way(pkg, r.Never); way != nil {
			broken = append(broken, fmt.Sprintf("%s: %s", strings.Join(way, " → "), r.Why))
		}
	}
	slices.Sort(broken)
	return broken
}

// way returns the shortest way from pkg to a package that the patterns hold, nil if there is none.
func (g Graph) way(pkg string, patterns []string) []string {
	from := map[string]string{pkg: ""}
	for queue := []string{pkg}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != pkg && holds(patterns, at) {
			var way []string
			for ; at != ""; at = from[at] {
				way = append(way, at)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range g[at] {
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func holds(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		room, below := strings.CutSuffix(pattern, "/...")
		return pkg == room || below && strings.HasPrefix(pkg, room+"/")
	})
}
