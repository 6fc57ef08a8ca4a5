// Package pgtable is what the project's tables in PostgreSQL have in common: how they are named, and how
// their migrations are kept, applied one process at a time and printed.
package pgtable
