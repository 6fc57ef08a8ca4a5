package connect_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/bus/connect"
)

func TestADSNShowsWhereItGoesAndNoSecret(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"": "",
		"postgres://app:hunter2@db.example.com:6432/users?sslmode=require&sslpassword=hunter2": "postgres://app@db.example.com:6432/users?sslmode=require",
		"postgresql://app:hunter2@db/users":                                                    "postgres://app@db:5432/users",
		"host=db user=app password='hunter2 \\' x' dbname=users":                               "postgres://app@db:5432/users",
		"host=a,b port=1,2 user=app password=hunter2 dbname=users":                             "postgres://app@a:1,b:2/users",
		"postgres://app:hunt@er2@db/users":                                                     "postgres://app@db:5432/users",
		"postgres://app:hunt/er2@db/users":                                                     "[unreadable DSN]",
		"postgres://app:1?hunter2@db/users":                                                    "[unreadable DSN]",
		"postgres://app:1#hunter2@db/users":                                                    "[unreadable DSN]",
		"postgres://app:hunter2@db:port/users":                                                 "[unreadable DSN]",
		"hunter2":                                                                              "[unreadable DSN]",
		"password=hunter2 hunter2":                                                             "[unreadable DSN]",
		"host=db sslpassword=hunter2 other=hunter2 user=app":                                   "postgres://app@db:5432/",
		"mysql://app:hunter2@db/users":                                                         "[unreadable DSN]",
	} {
		got := connect.DSN(dsn)
		shown := got.String()
		// lib/pq fills in what the DSN leaves open.
		shown = strings.TrimSuffix(strings.TrimSuffix(shown, "?sslmode=prefer"), "?sslmode=require")
		require.Equal(t, strings.TrimSuffix(want, "?sslmode=require"), shown, dsn)
		for _, text := range []string{fmt.Sprint(got), fmt.Sprintf("%#v", got), fmt.Sprintf("%v %q", got, got), got.LogValue().String()} {
			require.NotContains(t, text, "hunter2")
		}
	}
}

func FuzzDSNHidesThePassword(f *testing.F) {
	f.Add("app", "p@ss:w/rd?#%&=", "db")
	f.Add("", "correct horse", "")
	f.Add("a", "hunter2 or 'so' \\ it is", "é")
	f.Fuzz(func(t *testing.T, user, password, database string) {
		// A password that is part of everything else cannot be told from it.
		const frame = "postgres://@db.example.com:6432/?sslmode=disable[unreadable DSN]\""
		if len(password) < 4 || !utf8.ValidString(user+password+database) || strings.Contains(frame+user+database+url.QueryEscape(user)+url.PathEscape(database), password) {
			return
		}
		dsn := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: "db.example.com:6432", Path: "/" + database, RawQuery: "sslmode=disable"}
		shown := connect.DSN(dsn.String()).String()
		decoded, err := url.PathUnescape(shown)
		require.NoError(t, err)
		hidden := strings.ReplaceAll(strings.ReplaceAll(decoded, user, ""), database, "")
		require.NotContains(t, hidden, password)

		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		shown = connect.DSN("host=db.example.com port=6432 sslmode=disable password='" + quoted + "'").String()
		if decoded, err := url.PathUnescape(shown); err == nil {
			require.NotContains(t, decoded, password)
		}
	})
}
