package redact

import "reflect"

// node is what the pass has to know of one type: where tagged fields may be below it.
type node struct {
	shape shape
	elem  *node
	// members are a struct's fields by their JSON names.
	members map[string]*member
	// names are those of tagged fields, if the type, or a pointer to it, encodes itself.
	names nameSet
	// own says that it does, sealed that it has a tagged field itself.
	own, sealed bool
	// secretKeys: a map's keys have tagged fields, and are texts that they write themselves.
	secretKeys bool
	// tagged: a tagged field can be reached. walk: an interface can, so the value has to be looked at.
	tagged, walk bool
}

type member struct {
	index  []int
	tagged bool
	// goName is the field's name in Go, if JSON's has other letters; either may say secret.
	goName []byte
	node   *node
}

type shape uint8

const (
	shapeLeaf shape = iota
	shapePointer
	shapeInterface
	shapeList
	shapeMap
	shapeStruct
)

func (n *node) live() bool { return n != nil && (n.tagged || n.walk) }

// resolve follows pointers and interfaces; nil means that there is nothing to find below.
func (n *node) resolve(v reflect.Value) (*node, reflect.Value) {
	for n.live() {
		switch n.shape {
		case shapePointer:
			n = n.elem
			if v.IsValid() {
				if v = v.Elem(); !v.IsValid() {
					return nil, v
				}
			}
		case shapeInterface:
			if !v.IsValid() {
				return nil, v
			}
			v = v.Elem()
			n = valueNode(v)
		default:
			return n, v
		}
	}
	return nil, reflect.Value{}
}

// valueNode is the plan of what is in an interface.
func valueNode(v reflect.Value) *node {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Array, reflect.Struct:
		return typeNode(v.Type())
	default:
		return nil
	}
}

// member returns what is known of an object's member: its plan, its value if that is needed, and whether
// the field is secret by its tag or its name in Go.
func (n *node) member(name []byte, v reflect.Value, keys *keys, names *matcher) (*node, reflect.Value, bool) {
	if n == nil {
		return nil, reflect.Value{}, false
	}
	switch n.shape {
	case shapeStruct:
		m := n.members[string(name)]
		switch {
		case m == nil:
			return nil, reflect.Value{}, false
		case m.tagged, m.goName != nil && names.secret(m.goName):
			return nil, reflect.Value{}, true
		case !m.node.live():
			return nil, reflect.Value{}, false
		case !m.node.walk || !v.IsValid():
			return m.node, reflect.Value{}, false
		}
		return m.node, field(v, m.index), false
	case shapeMap:
		if !n.elem.walk || !v.IsValid() {
			return n.elem, reflect.Value{}, false
		}
		found := keys.find(v, string(name))
		if found.IsValid() && found.Type() == twinsType {
			return typeNode(twinsType), found, false
		}
		return n.elem, found, false
	default:
		return nil, reflect.Value{}, false
	}
}

func (n *node) item(i int, v reflect.Value) (*node, reflect.Value) {
	if n == nil || n.shape != shapeList {
		return nil, reflect.Value{}
	}
	if !n.elem.walk || !v.IsValid() || i >= v.Len() {
		return n.elem, reflect.Value{}
	}
	return n.elem, v.Index(i)
}

// field is like FieldByIndex, with nothing where an embedded pointer is nil.
func field(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v = v.Elem(); !v.IsValid() {
				return v
			}
		}
		v = v.Field(x)
	}
	return v
}
