package cqrs_test

import (
	"testing"

	"github.com/tailrace-go/tailrace/bus/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }
