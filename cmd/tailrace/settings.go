package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageTemplate is cobra's without what a command of ours does not have, wrapped for a terminal.
const usageTemplate = `Usage:
  {{.UseLine}}

Flags, each with its environment variable in brackets; a flag wins over the environment:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
`

// settings are the flags of a command. Each may be given by an environment variable too. They are parsed
// all together, so that all mistakes are reported at once.
type settings struct {
	own []*setting
	// shared are those of bus/connect, which parses them.
	shared []*setting
}

// setting is one of them. It implements pflag.Value and takes any text: parse judges it later.
type setting struct {
	// flag is its name without dashes, variable the environment variable, "" for none.
	flag, variable string
	// kind stands for the value in --help: its unit or its type.
	kind string
	// text is the default at first, then what was given.
	text  string
	parse func(string) error
	// repeated: the flag may be given several times; the texts are joined by newlines.
	repeated bool
	// secret: no error may repeat the text.
	secret bool
}

func (s *setting) String() string { return s.text }
func (s *setting) Type() string   { return s.kind }
func (s *setting) Set(text string) error {
	if s.repeated && s.text != "" {
		text = s.text + "\n" + text
	}
	s.text = text
	return nil
}

func (s *setting) add(flags *pflag.FlagSet, usage string) *pflag.Flag {
	if s.variable != "" {
		usage += " [" + s.variable + "]"
	}
	return flags.VarPF(s, s.flag, "", usage)
}

// define adds a setting to the command whose value parse puts into *into.
func define[T any](s *settings, cmd *cobra.Command, into *T, one setting, usage string, parse func(string) (T, error)) {
	one.parse = func(text string) error {
		value, err := parse(text)
		if err == nil {
			*into = value
		}
		return err
	}
	flag := one.add(cmd.Flags(), usage)
	if _, isBool := any(into).(*bool); isBool {
		flag.NoOptDefVal = "true"
	}
	s.own = append(s.own, &one)
}

// resolve takes each setting of its own from its flag, else from its variable, else its default, and
// returns every mistake.
func (s *settings) resolve(flags *pflag.FlagSet, environ map[string]string) error {
	var faults []error
	for _, one := range s.own {
		name, text := "--"+one.flag, one.text
		if value := environ[one.variable]; !flags.Changed(one.flag) && value != "" {
			name, text = one.variable, value
		}
		text = strings.TrimSpace(text)
		err := one.parse(text)
		switch {
		case err == nil:
		case one.secret:
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
		default:
			faults = append(faults, fmt.Errorf("%s is %q: %w", name, text, err))
		}
	}
	return errors.Join(faults...)
}

// badConfiguration is one error for all faults, nil for none.
func badConfiguration(faults ...error) error {
	err := errors.Join(faults...)
	if err == nil {
		return nil
	}
	return usageError{fmt.Errorf("bad configuration:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))}
}
