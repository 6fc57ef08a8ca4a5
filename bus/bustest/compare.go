package bustest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// differences lists where have is not what want asks for, each as "Field: is, expected other". What is zero
// in want is not asked for.
func differences(field string, want, have reflect.Value) []string {
	if want.IsZero() {
		return nil
	}
	switch {
	case want.Type() == reflect.TypeFor[time.Time]():
		// The wire has microseconds.
		expected := want.Interface().(time.Time).UTC().Truncate(time.Microsecond)
		if is := have.Interface().(time.Time).UTC(); !is.Equal(expected) {
			return []string{differ(field, is.Format(time.RFC3339Nano), expected.Format(time.RFC3339Nano))}
		}
		return nil
	case want.Kind() == reflect.Struct:
		var found []string
		for i := range want.NumField() {
			found = append(found, differences(join(field, want.Type().Field(i).Name), want.Field(i), have.Field(i))...)
		}
		return found
	case want.Comparable() && want.Kind() != reflect.Interface:
		if !want.Equal(have) {
			return []string{differ(field, show(have.Interface()), show(want.Interface()))}
		}
		return nil
	}
	expected, err := asJSON(want.Interface())
	if err != nil {
		return []string{fmt.Sprintf("%s: what is expected is not JSON: %v", field, err)}
	}
	is, err := asJSON(have.Interface())
	if err != nil {
		return []string{fmt.Sprintf("%s: is not JSON: %v", field, err)}
	}
	return jsonDifferences(field, expected, is)
}

// jsonDifferences lets an object have more fields than are asked for, but nothing else.
func jsonDifferences(field string, want, have any) []string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := have.(map[string]any)
		if !ok {
			break
		}
		var found []string
		for _, name := range slices.Sorted(maps.Keys(want)) {
			value, ok := object[name]
			if !ok {
				found = append(found, differ(join(field, name), "missing", show(want[name])))
				continue
			}
			found = append(found, jsonDifferences(join(field, name), want[name], value)...)
		}
		return found
	case []any:
		list, ok := have.([]any)
		if !ok || len(list) != len(want) {
			break
		}
		var found []string
		for i := range want {
			found = append(found, jsonDifferences(field+"["+strconv.Itoa(i)+"]", want[i], list[i])...)
		}
		return found
	case json.Number:
		if number, ok := have.(json.Number); ok && sameNumber(want, number) {
			return nil
		}
	default:
		if want == have {
			return nil
		}
	}
	return []string{differ(field, show(have), show(want))}
}

// sameNumber takes 1.0 and 1 for the same, and large integers by every digit.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	_, errA := a.Int64()
	_, errB := b.Int64()
	if errA == nil && errB == nil {
		return false
	}
	x, errA := a.Float64()
	y, errB := b.Float64()
	return errA == nil && errB == nil && x == y
}

// asJSON returns the value as a consumer would read it.
func asJSON(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&decoded)
	return decoded, err
}

func differ(field, is, expected string) string {
	return fmt.Sprintf("%s: %s, expected %s", field, is, expected)
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// show writes strings quoted and the rest as JSON.
func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
