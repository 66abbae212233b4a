// oras, as its own main package has it, which cannot be imported.
package main

import (
	"context"
	"os"
	"os/signal"

	"oras.land/oras/cmd/oras/root"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := root.New().ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}
