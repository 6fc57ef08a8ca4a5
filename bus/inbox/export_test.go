package inbox

// PurgeKey is the advisory lock of who purges the table.
func PurgeKey(x *Inbox) int64 { return x.table.purgeKey() }
