package main

import "github.com/tailrace-go/tailrace/bus"

type user struct{ Email string }

// The events, defined once for those who publish them and those who handle them.
var (
	userCreated = bus.Define[user]("user", "user_created")
	userGreeted = bus.Define[user]("user", "user_greeted")
)
