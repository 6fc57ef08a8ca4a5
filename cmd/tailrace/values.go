package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

func parseBool(text string) (bool, error) {
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("it must be true or false")
	}
	return value, nil
}

// parseCount returns a parser of whole numbers from low to high.
func parseCount(low, high int) func(string) (int, error) {
	return func(text string) (int, error) {
		value, err := strconv.Atoi(text)
		if err != nil || value < low || value > high {
			return 0, fmt.Errorf("it must be a whole number from %d to %d", low, high)
		}
		return value, nil
	}
}

// parseDuration returns a parser of durations of at least low.
func parseDuration(low time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		value, err := time.ParseDuration(withDays(text))
		if err != nil {
			return 0, errors.New("it must be a duration such as 500ms, 10s, 2h or 7d")
		}
		if value < low {
			return 0, fmt.Errorf("it must be at least %s", low)
		}
		return value, nil
	}
}

// withDays writes whole days as the hours that [time.ParseDuration] knows.
func withDays(text string) string {
	days, isDays := strings.CutSuffix(text, "d")
	if count, err := strconv.ParseUint(days, 10, 16); isDays && err == nil {
		return strconv.FormatUint(count*24, 10) + "h"
	}
	return text
}

// oneOf returns a parser of the given words.
func oneOf[T ~string](words ...T) func(string) (T, error) {
	return func(text string) (T, error) {
		names := make([]string, len(words))
		for i, word := range words {
			if strings.EqualFold(text, string(word)) {
				return word, nil
			}
			names[i] = string(word)
		}
		return "", fmt.Errorf("it must be one of %s", strings.Join(names, ", "))
	}
}

// parseNames takes a comma-separated list.
func parseNames(text string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// parseWord takes any text that is not empty.
func parseWord(text string) (string, error) {
	if text == "" {
		return "", errors.New("it must not be empty")
	}
	return text, nil
}

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, errors.New("it must be one of debug, info, warn, error")
	}
	return level, nil
}

// parseListenAddress takes host:port, or off, which becomes "".
func parseListenAddress(text string) (string, error) {
	if text == "off" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", errors.New("it must be host:port, or off")
	}
	return text, nil
}
