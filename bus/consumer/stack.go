package consumer

// stackRoom makes a stack that has less grow to 16 KiB: the largest size that the runtime keeps for reuse.
const stackRoom = 8 << 10

// grow lets the goroutine's stack grow at once, while there is next to nothing on it. A router starts a
// goroutine a message, whose stack begins with 2 KiB or so and doubles whenever it is full; decoding an
// event needs 16 KiB, and three doublings, each of which copies all frames so far, cost as much as half the
// decoding. The middlewares that may stand outermost call it; a second call costs nothing.
func grow() { frame(false) }

// frame has a frame of stackRoom, which the runtime makes room for on entry. It is not used, so it is not
// cleared either.
//
//go:noinline
func frame(used bool) (last byte) {
	if used {
		var room [stackRoom]byte
		touch(&room)
		last = room[stackRoom-1]
	}
	return last
}

//go:noinline
func touch(room *[stackRoom]byte) { room[0]++ }
