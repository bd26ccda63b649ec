// What `make corpus` builds: the real Butane and Ignition's ignition-validate, pinned here and in go.sum.
module corpus

go 1.25

require (
	github.com/coreos/butane v0.29.0
	github.com/coreos/ignition/v2 v2.26.0
)
