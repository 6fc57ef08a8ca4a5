package decorators

import "context"

// The shapes are one: what a function lacks is none.

func inputOnly[F ~func(context.Context, In) error, In any](h *hook[In, none], f F) F {
	run := h.around(func(ctx context.Context, in In) (none, error) { return none{}, f(ctx, in) })
	return func(ctx context.Context, in In) error {
		_, err := run(ctx, in)
		return err
	}
}

func resultOnly[F ~func(context.Context) (Out, error), Out any](h *hook[none, Out], f F) F {
	run := h.around(func(ctx context.Context, _ none) (Out, error) { return f(ctx) })
	return func(ctx context.Context) (Out, error) { return run(ctx, none{}) }
}

func neither[F ~func(context.Context) error](h *hook[none, none], f F) F {
	run := h.around(func(ctx context.Context, _ none) (none, error) { return none{}, f(ctx) })
	return func(ctx context.Context) error {
		_, err := run(ctx, none{})
		return err
	}
}

// byInput and byResult are id functions of one thing as such of both; constant is the id of all calls.

func byInput[In, Out any](id func(In) string) func(In, Out) string {
	if id == nil {
		return nil
	}
	return func(in In, _ Out) string { return id(in) }
}

func byResult[In, Out any](id func(Out) string) func(In, Out) string {
	if id == nil {
		return nil
	}
	return func(_ In, out Out) string { return id(out) }
}

func constant[In, Out any](id string) func(In, Out) string {
	if id == "" {
		return nil
	}
	return func(In, Out) string { return id }
}
