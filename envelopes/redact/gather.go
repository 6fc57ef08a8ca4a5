package redact

import "reflect"

// namesInside are the names that count within a value of a type that encodes itself.
func (n *node) namesInside(v reflect.Value) nameSet {
	if !n.own || !n.walk || !v.IsValid() {
		return n.names
	}
	g := gatherer{names: nameSet{}, seen: map[visit]bool{}}
	for name := range n.names {
		g.names[name] = struct{}{}
	}
	g.value(v)
	return g.names
}

// gatherer collects the names of the tagged fields that a value holds behind interfaces.
type gatherer struct {
	names nameSet
	seen  map[visit]bool
}

type visit struct {
	at uintptr
	of reflect.Type
}

func (g *gatherer) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		if v = v.Elem(); v.IsValid() {
			if n := valueNode(v); n != nil {
				for name := range taggedNames(v.Type()) {
					g.names[name] = struct{}{}
				}
				g.value(v)
			}
		}
	case reflect.Pointer, reflect.Map:
		if v.IsNil() || g.seen[visit{v.Pointer(), v.Type()}] {
			return
		}
		g.seen[visit{v.Pointer(), v.Type()}] = true
		if v.Kind() == reflect.Pointer {
			g.value(v.Elem())
			return
		}
		for entries := v.MapRange(); entries.Next(); {
			g.value(entries.Value())
		}
	case reflect.Slice, reflect.Array:
		if typeNode(v.Type().Elem()) == nil {
			return
		}
		if v.Kind() == reflect.Slice {
			at := visit{v.Pointer(), v.Type()}
			if g.seen[at] {
				return
			}
			g.seen[at] = true
		}
		for i := range v.Len() {
			g.value(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			g.value(v.Field(i))
		}
	default:
	}
}
