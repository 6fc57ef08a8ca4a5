package redact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

func object(t testing.TB, name string) string {
	t.Helper()
	data, err := json.Marshal(map[string]int{name: 7})
	require.NoError(t, err)
	return string(data)
}

func TestNamesThatSaySecret(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"password", "Password", "PASSWORD", "userPassword", "user_password", "userpassword", "passwords", "password2",
		"passWord", "pass-word", "passwordHash", "passwd", "pwd", "passphrase", "db.password", "user[password]",
		"secret", "client_secret", "clientSecret", "clientsecret", "secretKey", "secrets",
		"token", "access_token", "accessToken", "accesstoken", "refresh-token", "tokens", "CSRFToken", "oauth2Token", "token1",
		"apiKey", "apikey", "api_key", "X-Api-Key", "api key", "APIKey", "apiKeys", "my_api_key_v2", "xapikey",
		"authorization", "Authorization", "Proxy-Authorization", "proxyauthorization",
		"ssn", "SSN", "userSSN", "ssn_last4", "SSNs", "social_security_number",
		"cardNumber", "credit_card_number", "cardnumber", "card-numbers", "CardNumber", "creditCard", "debitcardnumber",
		"cvv", "CVV2", "cvc", "card_cvv",
		"private_key", "awsAccessKeyID", "credentials",
		// What encoding/json would read as password and token.
		"paſſword", "toKen",
		"p\u00e4_password",
	} {
		out, err := redact.Default().Raw([]byte(object(t, name)))
		require.NoError(t, err)
		require.Contains(t, string(out), redact.Mark, name)
	}
}

func TestNamesThatDoNot(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"className", "classname", "class_name", "secretary", "secretariat", "tokenizer", "authorized", "author",
		"key", "apis", "api", "card", "number", "cardinality", "pass", "passport", "compass", "assn", "keyboard", "", "_", "7",
		"monkey", "discard_numbered", "pass_age", "accvv", "mission", "user_id", "email", "papi_keyring",
	} {
		text := object(t, name)
		out, err := redact.Default().Raw([]byte(text))
		require.NoError(t, err)
		require.Equal(t, text, string(out), name)
	}
}

func TestNamesOfOnesOwn(t *testing.T) {
	t.Parallel()
	r, err := redact.New(redact.Config{Names: []string{"iban", "date of birth"}, Except: []string{"page_token"}})
	require.NoError(t, err)
	out, err := r.Raw([]byte(`{"iban":1,"customerIBAN":1,"ibanez":2,"dateOfBirth":1,"birth_date":2,"page_token":3,"pageToken":3,"token":1,"next_page_token":1}`))
	require.NoError(t, err)
	//nolint:testifylint // Byte for byte.
	require.Equal(t, `{"iban":"[redacted]","customerIBAN":"[redacted]","ibanez":2,"dateOfBirth":"[redacted]","birth_date":2,`+
		`"page_token":3,"pageToken":3,"token":"[redacted]","next_page_token":"[redacted]"}`, string(out))
}

// Many scripts put no mark between words: there a name counts wherever it stands.
func TestNamesInOtherScripts(t *testing.T) {
	t.Parallel()
	r, err := redact.New(redact.Config{Names: []string{"密码", "パスワード", "รหัสผ่าน", "סיסמה", "пароль", "contraseña"}})
	require.NoError(t, err)
	for _, name := range []string{"密码", "用户密码", "用户密码2", "ユーザーパスワード", "รหัสผ่านผู้ใช้", "הסיסמה", "пароль", "Пароль", "парольПользователя", "Contraseña"} {
		out, err := r.Raw([]byte(object(t, name)))
		require.NoError(t, err)
		require.Contains(t, string(out), redact.Mark, name)
	}
	for _, name := range []string{"密", "用户", "парольный"} {
		out, err := r.Raw([]byte(object(t, name)))
		require.NoError(t, err)
		require.NotContains(t, string(out), redact.Mark, name)
	}
}

func TestManyAndLongNamesAreJudgedAllTheSame(t *testing.T) {
	t.Parallel()
	r, err := redact.New(redact.Config{Limit: -1})
	require.NoError(t, err)
	for i := range 3000 {
		name := strings.Repeat("a", i%200) + "_" + strings.Repeat("b", i/200) + "_token"
		for range 2 {
			out, err := r.Raw([]byte(object(t, name)))
			require.NoError(t, err)
			require.Equal(t, `{"`+name+`":"[redacted]"}`, string(out))
		}
	}
	long := object(t, strings.Repeat("a_", 200_000))
	out, err := r.Raw([]byte(long))
	require.NoError(t, err)
	require.Equal(t, long, string(out))
}

func TestConfigurationFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := redact.New(redact.Config{Names: []string{"ok", "--"}, Except: []string{""}, Limit: 100})
	require.ErrorIs(t, err, redact.ErrConfig)
	require.ErrorContains(t, err, "Names[1] has no letter")
	require.ErrorContains(t, err, "Except[0] has no letter")
	require.ErrorContains(t, err, "at least 256")
}
