package redact

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keys finds the values of one map by the names that its keys have in JSON.
type keys struct {
	// byName is made when a key is not the text that it becomes.
	byName map[string]reflect.Value
}

func (k *keys) find(v reflect.Value, name string) reflect.Value {
	key := v.Type().Key()
	switch {
	case k.byName != nil:
	case key.Kind() == reflect.String:
		// What is not UTF-8 becomes U+FFFD.
		if !strings.ContainsRune(name, utf8.RuneError) {
			return v.MapIndex(reflect.ValueOf(name).Convert(key))
		}
	case key.Implements(textMarshaler):
	case key.Kind() >= reflect.Int && key.Kind() <= reflect.Int64:
		if i, err := strconv.ParseInt(name, 10, 64); err == nil {
			return v.MapIndex(reflect.ValueOf(i).Convert(key))
		}
	case key.Kind() >= reflect.Uint && key.Kind() <= reflect.Uintptr:
		if i, err := strconv.ParseUint(name, 10, 64); err == nil {
			return v.MapIndex(reflect.ValueOf(i).Convert(key))
		}
	}
	if k.byName == nil {
		k.byName = named(v)
	}
	return k.byName[name]
}

// named lists a map's values by the names that encoding/json gives their keys. Those of keys with one name
// are all behind it, in a list.
func named(v reflect.Value) map[string]reflect.Value {
	values := make(map[string]reflect.Value, v.Len())
	if !v.CanInterface() {
		return values
	}
	only := reflect.MapOf(v.Type().Key(), reflect.TypeFor[int]())
	for entries := v.MapRange(); entries.Next(); {
		one := reflect.MakeMapWithSize(only, 1)
		one.SetMapIndex(entries.Key(), reflect.ValueOf(0))
		var decoded map[string]int
		encoded, err := json.Marshal(one.Interface())
		if err != nil || json.Unmarshal(encoded, &decoded) != nil {
			continue
		}
		for name := range decoded {
			value := entries.Value()
			if other, taken := values[name]; taken {
				value = reflect.ValueOf(twins{other.Interface(), value.Interface()})
			}
			values[name] = value
		}
	}
	return values
}

// twins are values that cannot be told apart by name. Since it says that it encodes itself, the names of
// the tagged fields of each count in all.
type twins []any

var twinsType = reflect.TypeFor[twins]()

func (twins) MarshalJSON() ([]byte, error) { return []byte("null"), nil }
