// The face of ldiff for other Swift packages.
//
// A `LayerTree` is a directory, or an upper directory over lower ones; a `StoredLayer` is a layer of a `LayerStore`. Both
// answer the four questions: write the layer, list the changes, tell the size, apply a layer. Their values are defined in
// `LayerModel` and come along; nothing else of the house is public.
@_exported public import LayerModel
