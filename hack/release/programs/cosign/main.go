// cosign, with keys that are files or in the environment: what asks the key services of clouds is most of it, and only built by the tag `kms`.
//
// It is cosign's own command line; its main package cannot be imported.
package main

import (
	"errors"
	"log"
	"os"

	"github.com/sigstore/cosign/v3/cmd/cosign/cli"
	cosignerrors "github.com/sigstore/cosign/v3/cmd/cosign/errors"
)

func main() {
	err := cli.New().Execute()
	if err == nil {
		return
	}
	log.Printf("error during command execution: %v", err)
	var coded *cosignerrors.CosignError
	if errors.As(err, &coded) {
		os.Exit(coded.ExitCode())
	}
	os.Exit(1)
}
