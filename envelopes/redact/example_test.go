package redact_test

import (
	"fmt"
	"strings"

	"github.com/tailrace-go/tailrace/envelopes/redact"
)

func ExampleRedactor_JSON() {
	type Patient struct {
		ID        string `json:"id"`
		Diagnosis string `json:"diagnosis" redact:"true"`
		APIKey    string `json:"api_key"`
	}
	data, err := redact.Default().JSON(map[string]any{
		"patient": Patient{ID: "p-1", Diagnosis: "flu", APIKey: "k-77"},
		"headers": map[string]string{"Authorization": "Bearer abc", "Accept": "*/*"},
	})
	fmt.Println(string(data), err)
	// Output:
	// {"headers":{"Accept":"*/*","Authorization":"[redacted]"},"patient":{"id":"p-1","diagnosis":"[redacted]","api_key":"[redacted]"}} <nil>
}

func ExampleNew() {
	r, err := redact.New(redact.Config{Names: []string{"iban"}, Except: []string{"page_token"}, Limit: 256})
	if err != nil {
		fmt.Println(err)
		return
	}
	data, _ := r.JSON(map[string]string{"customerIban": "DE02", "page_token": "2", "note": strings.Repeat("x", 1000)})
	fmt.Println(string(data[:37]), "…", string(data[len(data)-47:]))
	// Output:
	// {"customerIban":"[redacted]","note":" … xxxx… [826 bytes left out]","page_token":"2"}
}

func ExampleRedactor_Raw() {
	data, err := redact.Default().Raw([]byte(`{"user": "u-1", "password": "hunter2"}`))
	fmt.Println(string(data), err)
	// Output:
	// {"user": "u-1", "password": "[redacted]"} <nil>
}
