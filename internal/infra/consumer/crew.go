package consumer

// crew runs handlers in goroutines of their own, so that one that hangs can be
// left behind, and uses those that are done again: a new goroutine would have to
// grow its stack with every event, which took longer than anything else.
type crew struct {
	work chan func()
	over <-chan struct{} // the idle ones may go home
}

// run starts f at once. f must not panic.
func (c crew) run(f func()) {
	select {
	case c.work <- f: // somebody is idle
	default:
		go c.serve(f)
	}
}

func (c crew) serve(f func()) {
	for {
		f()
		select {
		case f = <-c.work:
		case <-c.over:
			return
		}
	}
}
