// Package doctest keeps the documents' code true: its test compiles every Go block of README.md and
// docs/*.md, in one run of the go command, and runs those that say so.
//
// A block is a fence that begins in the first column with ```go. What a document shows stays free of
// wrapping, since the following is done for it:
//
//   - All blocks of a document are one Go package, so a block may use what an earlier one declares.
//   - A block of statements is put into a function of its own. A return in it decides that function's
//     results (one is an error, two are a value and an error), and its variables need not be used.
//   - Imports are found by the name of the package: this module's, and those in [Known]. Others are
//     imported by the block or by the document's setup.
//   - What the blocks use and no block shows (a ctx, a router, a function of the reader's) is declared
//     in the document's setup, testdata/NAME.go for NAME.md in lower case, an ordinary Go file.
//
// Test functions that a document declares are run, too.
//
// A block that begins with a package clause is a whole file, in a package of its own.
//
// A comment on the line before the fence, which no reader sees, changes that:
//
//	<!-- go: package NAME -->
//
// puts the block into another package of the document, with all others of that name, and with the setup
// testdata/DOCUMENT_NAME.go if there is one: for what is shown twice, before and after.
//
//	<!-- go: run -->
//
// makes the block, which has a func main, a program. It is run and must end well. Its environment has the
// DATABASE_URL of a database with an outbox, and with what testdata/DOCUMENT.sql makes, the KAFKA_BROKERS
// of a cluster that makes topics by itself, and SERVICE_NAME=user-service. A ```text block that follows,
// with the comment <!-- go: output -->, is what it prints.
//
//	<!-- go: file PATH -->
//
// says that the block is an excerpt of the file at PATH, counted from the module's root, line for line
// but for its indentation. That file is compiled where it is, and tested there.
//
// An error of the compiler names the document and the line in it.
package doctest
