package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

type logFormat string

const (
	logText logFormat = "text"
	logJSON logFormat = "json"
)

// logSettings say how a command logs.
type logSettings struct {
	format logFormat
	level  slog.Level
}

func (l *logSettings) define(s *settings, cmd *cobra.Command) {
	define(s, cmd, &l.format, setting{flag: "log-format", variable: "TAILRACE_LOG_FORMAT", kind: "format", text: "text"},
		"text or json, to standard error", oneOf(logText, logJSON))
	define(s, cmd, &l.level, setting{flag: "log-level", variable: "TAILRACE_LOG_LEVEL", kind: "level", text: "info"},
		"debug, info, warn or error", parseLevel)
}

func (l *logSettings) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.level}
	if l.format == logJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
