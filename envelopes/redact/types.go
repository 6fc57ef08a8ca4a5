package redact

import (
	"cmp"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// nodes has each type's plan; it depends on tags alone, so all Redactors share it.
var nodes sync.Map

// typeNode returns the plan of a type, nil if nothing below it can be tagged.
func typeNode(t reflect.Type) *node {
	if t == nil {
		return nil
	}
	if known, ok := nodes.Load(t); ok {
		return known.(*node)
	}
	b := builder{}
	n := b.node(t)
	b.settle()
	if !n.live() {
		n = nil
	}
	known, _ := nodes.LoadOrStore(t, n)
	return known.(*node)
}

// builder makes the plans of a type and of all that it is made of, which may be itself.
type builder map[reflect.Type]*node

func (b builder) node(t reflect.Type) *node {
	if n, begun := b[t]; begun {
		return n
	}
	n := &node{}
	b[t] = n
	if t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer {
		n.own = encodesItself(t)
		if n.own {
			n.names = taggedNames(t)
			n.tagged = len(n.names) > 0
			n.walk = holdsInterface(t)
			n.sealed = hasTagged(t)
		}
	}
	switch t.Kind() {
	case reflect.Interface:
		n.shape, n.walk = shapeInterface, true
	case reflect.Pointer:
		n.shape, n.elem = shapePointer, b.node(t.Elem())
	case reflect.Slice, reflect.Array:
		n.shape, n.elem = shapeList, b.node(t.Elem())
	case reflect.Map:
		n.shape, n.elem = shapeMap, b.node(t.Elem())
		n.secretKeys = encodesItself(t.Key()) && len(taggedNames(t.Key())) > 0
		n.tagged = n.tagged || n.secretKeys
	case reflect.Struct:
		n.shape, n.members = shapeStruct, map[string]*member{}
		for _, f := range jsonFields(t) {
			m := &member{index: f.index, tagged: f.tagged}
			if !f.tagged {
				m.node = b.node(f.of)
			}
			if fold(f.goName) != fold(f.name) {
				m.goName = []byte(f.goName)
			}
			n.members[f.name] = m
			n.tagged = n.tagged || f.tagged || m.goName != nil
		}
	default:
	}
	return n
}

// encodesItself says that encoding/json asks the type for its JSON, or for the text of a JSON string.
func encodesItself(t reflect.Type) bool {
	for _, how := range []reflect.Type{jsonMarshaler, textMarshaler} {
		if t.Implements(how) || reflect.PointerTo(t).Implements(how) {
			return true
		}
	}
	return false
}

// settle carries what can be reached up to where it can be reached from.
func (b builder) settle() {
	for again := true; again; {
		again = false
		for _, n := range b {
			tagged, walk := n.tagged, n.walk
			below := func(m *node) {
				if m != nil {
					n.tagged, n.walk = n.tagged || m.tagged, n.walk || m.walk
				}
			}
			below(n.elem)
			for _, m := range n.members {
				below(m.node)
			}
			again = again || tagged != n.tagged || walk != n.walk
		}
	}
}

// jsonField is a struct's field as encoding/json sees it.
type jsonField struct {
	name   string
	goName string
	index  []int
	of     reflect.Type
	named  bool
	tagged bool
}

// jsonFields returns the fields that encoding/json writes, by its rules: of several with one name the one
// that is embedded least deep, then the one that its tag names; two that are equal in this are left out.
func jsonFields(t reflect.Type) []jsonField {
	all := promoted(t, nil, false, nil)
	slices.SortStableFunc(all, func(a, b jsonField) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(len(a.index), len(b.index)), boolean(b.named)-boolean(a.named))
	})
	var fields []jsonField
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end].name == all[i].name {
			end++
		}
		if end == i+1 || len(all[i].index) != len(all[i+1].index) || all[i].named != all[i+1].named {
			fields = append(fields, all[i])
		}
		i = end
	}
	return fields
}

// promoted lists the fields of a struct and of those embedded in it. A tag on an embedded struct is one on
// all its fields.
func promoted(t reflect.Type, index []int, tagged bool, around []reflect.Type) []jsonField {
	if slices.Contains(around, t) {
		return nil
	}
	around = append(slices.Clip(around), t)
	var fields []jsonField
	for i := range t.NumField() {
		f := t.Field(i)
		option := f.Tag.Get("json")
		if option == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		secret := tagged || isTagged(f)
		name, _, _ := strings.Cut(option, ",")
		if !validName(name) {
			name = ""
		}
		place := append(slices.Clip(index), i)
		if f.Anonymous {
			of := f.Type
			if of.Kind() == reflect.Pointer {
				of = of.Elem()
			}
			if !f.IsExported() && of.Kind() != reflect.Struct {
				continue
			}
			if name == "" && of.Kind() == reflect.Struct {
				fields = append(fields, promoted(of, place, secret, around)...)
				continue
			}
		}
		fields = append(fields, jsonField{name: cmp.Or(name, f.Name), goName: f.Name, index: place, of: f.Type, named: name != "", tagged: secret})
	}
	return fields
}

func isTagged(f reflect.StructField) bool { return f.Tag.Get("redact") == "true" }

// validName says whether encoding/json takes the name in a tag; it ignores any other.
func validName(name string) bool {
	for _, c := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return name != ""
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hasTagged says that a struct has a tagged field itself, exported or not, embedded or not.
func hasTagged(t reflect.Type, around ...reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || slices.Contains(around, t) {
		return false
	}
	for f := range t.Fields() {
		if isTagged(f) || f.Anonymous && hasTagged(f.Type, append(around, t)...) {
			return true
		}
	}
	return false
}

// taggedNames are those of all tagged fields within a type, exported or not, in Go and in JSON, and those of
// the fields of a tagged struct, which a type that encodes itself may write without it.
func taggedNames(t reflect.Type) nameSet {
	names := nameSet{}
	within(t, func(f reflect.StructField, around bool) bool {
		if !around && !isTagged(f) {
			return false
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		for _, name := range []string{fold(name), fold(f.Name)} {
			if name != "" {
				names[name] = struct{}{}
			}
		}
		return true
	})
	return names
}

func holdsInterface(t reflect.Type) bool {
	found := false
	look := func(t reflect.Type) {
		for seen := 0; isContainer(t) && seen < deepest; seen++ {
			t = t.Elem()
		}
		found = found || t.Kind() == reflect.Interface
	}
	look(t)
	within(t, func(f reflect.StructField, _ bool) bool {
		look(f.Type)
		return false
	})
	return found
}

func isContainer(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return true
	default:
		return false
	}
}

// place is a type that within has been to.
type place struct {
	of     reflect.Type
	around bool
}

// within calls visit for each field of each struct within a type. What visit returns is around for the
// fields of that field's type; of another package's type, such as time.Time, those are left out that only
// that package can write.
func within(t reflect.Type, visit func(f reflect.StructField, around bool) bool) {
	seen := map[place]bool{}
	home := t.PkgPath()
	var walk func(t reflect.Type, around bool)
	walk = func(t reflect.Type, around bool) {
		for isContainer(t) {
			at := place{t, around}
			if seen[at] {
				return
			}
			if t.Name() != "" {
				seen[at] = true
			}
			t = t.Elem()
		}
		at := place{t, around}
		if t.Kind() != reflect.Struct || seen[at] {
			return
		}
		seen[at] = true
		for f := range t.Fields() {
			walk(f.Type, visit(f, around && (f.IsExported() || home == "" || f.PkgPath == home)))
		}
	}
	walk(t, false)
}
