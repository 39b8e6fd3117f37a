// The face of ldiff for other Swift packages.
//
// A `LayerTree` is a directory, or an upper directory over lower ones; a `StoredLayer` is a layer of a `LayerStore`. Both
// answer the four questions: write the layer, list the changes, tell the size, apply a layer. Their values are those
// of `LayerModel` that are named below; nothing else of the house is meant for others.
@_exported public import struct LayerModel.Digest
@_exported public import enum LayerModel.DriverName
@_exported public import struct LayerModel.IDMap
@_exported public import enum LayerModel.IOMode
@_exported public import struct LayerModel.LayerEntry
@_exported public import struct LayerModel.LayerError
@_exported public import struct LayerModel.LayerFilter
@_exported public import struct LayerModel.LayerID
@_exported public import enum LayerModel.LayerKitVersion
@_exported public import enum LayerModel.LayerProfile
@_exported public import struct LayerModel.PathBytes
@_exported public import struct LayerModel.PathPattern
@_exported public import struct LayerModel.StaticCallName
@_exported public import struct LayerModel.SystemCallError
@_exported public import struct LayerModel.WhiteoutDialect
