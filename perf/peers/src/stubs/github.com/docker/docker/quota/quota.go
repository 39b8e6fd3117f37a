// Package quota stands where Docker's package of that name would be, which Debian does not ship: a file system without project
// quotas, as ext4 is unless it is told otherwise.
package quota

import "errors"

// ErrQuotaNotSupported is what the drivers take as "no limits here".
var ErrQuotaNotSupported = errors.New("no project quotas")

// Quota limits one layer.
type Quota struct{ Size uint64 }

// Control would keep the limits of a store.
type Control struct{}

// NewControl finds no quotas.
func NewControl(string) (*Control, error) { return nil, ErrQuotaNotSupported }

// SetQuota is never called without a control.
func (*Control) SetQuota(string, Quota) error { return ErrQuotaNotSupported }

// GetQuota is never called without a control.
func (*Control) GetQuota(string, *Quota) error { return ErrQuotaNotSupported }
