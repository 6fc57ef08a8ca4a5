package doctest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Block is one fenced block of a document.
type Block struct {
	// Document is the path of the document.
	Document string
	// Line is the line of the first line of Text, counted from 1.
	Line int
	// Language is the first word after the fence.
	Language string
	// Directive is the words of the comment on the line before the fence.
	Directive []string
	Text      string
}

// At is where the block begins, as compilers write it.
func (b Block) At() string { return fmt.Sprintf("%s:%d", b.Document, b.Line) }

// Name is the document's name, in lower case and without its ending.
func (b Block) Name() string {
	base := filepath.Base(b.Document)
	return strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base)))
}

// Is reports whether the block's directive is the word.
func (b Block) Is(word string) bool { return len(b.Directive) > 0 && b.Directive[0] == word }

const fence = "```"

// Read returns the document's blocks of any language. A Go block that would be overlooked is an error.
func Read(document string) ([]Block, error) {
	text, err := os.ReadFile(document) //nolint:gosec // The repository's own.
	if err != nil {
		return nil, err
	}
	var blocks []Block
	var faults []error
	var open *Block
	var content []string
	before := ""
	for i, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && line == fence:
			open.Text = strings.Join(append(content, ""), "\n")
			blocks = append(blocks, *open)
			open, content = nil, nil
		case open != nil:
			content = append(content, line)
		case strings.HasPrefix(line, fence):
			language, _, _ := strings.Cut(strings.TrimSpace(line[len(fence):]), " ")
			open = &Block{Document: document, Line: i + 2, Language: language, Directive: directive(before)}
			if strings.EqualFold(language, "golang") || strings.EqualFold(language, "go") && language != "go" {
				faults = append(faults, fmt.Errorf("%s:%d: write the language of a Go block as go", document, i+1))
			}
		case strings.HasPrefix(trimmed, fence):
			faults = append(faults, fmt.Errorf("%s:%d: a fence that does not begin in the first column is not looked at: move it there", document, i+1))
		}
		before = line
	}
	if open != nil {
		faults = append(faults, fmt.Errorf("%s: the block is not closed", open.At()))
	}
	for i, block := range blocks {
		faults = append(faults, block.check(), followed(blocks, i))
	}
	return blocks, errors.Join(faults...)
}

func directive(line string) []string {
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "<!-- go:")
	if !ok {
		return nil
	}
	return strings.Fields(strings.TrimSuffix(text, "-->"))
}

func (b Block) check() error {
	if b.Directive == nil {
		return nil
	}
	language, words := "go", map[string]int{"package": 2, "run": 1, "file": 2, "output": 1}
	if b.Is("output") {
		language = "text"
	}
	if len(b.Directive) == 0 || len(b.Directive) != words[b.Directive[0]] || b.Language != language {
		return fmt.Errorf("%s: the comment <!-- go: %s --> before a %s block is none of those in the package's documentation",
			b.At(), strings.Join(b.Directive, " "), b.Language)
	}
	return nil
}

// followed requires that an output is that of a program.
func followed(blocks []Block, i int) error {
	if blocks[i].Is("output") && (i == 0 || !blocks[i-1].Is("run")) {
		return fmt.Errorf("%s: an output follows the program that prints it", blocks[i].At())
	}
	return nil
}

// Excerpt returns an error unless the block stands in the text, at any indentation.
func (b Block) Excerpt(text string) error {
	want := lines(b.Text)
	have := lines(text)
	for start := 0; start+len(want) <= len(have); start++ {
		if indented(have[start:start+len(want)], want) {
			return nil
		}
	}
	return fmt.Errorf("%s: the block does not stand in %s: copy it from there", b.At(), b.Directive[1])
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

// indented reports whether have is want with the same indentation before each line.
func indented(have, want []string) bool {
	by := strings.TrimSuffix(have[0], want[0])
	if strings.Trim(by, "\t") != "" {
		return false
	}
	for i, line := range want {
		if have[i] != line && have[i] != by+line || by != "" && line != "" && have[i] == line {
			return false
		}
	}
	return true
}
